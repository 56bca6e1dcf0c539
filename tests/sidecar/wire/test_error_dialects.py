"""What providers and servers that speak OpenAI say when they fail, and which outcome that is (B17).

One row for each: who, status, headers, body, outcome, seconds to wait, where the fact is from. Sources: the provider's
own documentation, an issue in a public repository where somebody pasted the answer, or "known" where neither was at
hand and the shape is common knowledge.
"""

# ruff: noqa: E501 (a row of a table stays one line, so that the table can be read down)

import json
from typing import Any, NamedTuple

import pytest

from modelpool_sidecar.core import retryafter
from modelpool_sidecar.core.outcome import BY_WORDS, WORDS, Outcome, ProviderError, classify
from modelpool_sidecar.dialects import openai, openai_errors

QUOTA, CONTEXT, POLICY, RATE = (
    Outcome.QUOTA_EXHAUSTED,
    Outcome.CONTEXT_LENGTH,
    Outcome.CONTENT_POLICY,
    Outcome.RATE_LIMITED,
)


class Row(NamedTuple):
    who: str
    status: int
    body: Any
    outcome: Outcome
    source: str
    headers: tuple[tuple[str, str], ...] = ()
    wait: float | None = None


def error(message: str, kind: str | None = None, code: Any = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


ROWS = [
    Row("OpenAI", 429, error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), QUOTA, "help.openai.com/5955604"),
    Row("OpenAI", 429, error("…", "insufficient_quota", "credit_balance_exhausted"), QUOTA, "help.openai.com/5955604"),
    Row("OpenAI", 429, error("…", None, "organization_spend_limit_exceeded"), QUOTA, "help.openai.com/5955604"),
    Row("OpenAI", 429, error("…", None, "project_spend_limit_exceeded"), QUOTA, "help.openai.com/5955604"),
    Row("OpenAI", 429, error("…", None, "organization_usage_limit_exceeded"), QUOTA, "help.openai.com/5955604"),
    Row("OpenAI", 429, error("Rate limit reached", "tokens", "rate_limit_exceeded"), RATE, "developers.openai.com/docs/guides/error-codes", (("retry-after", "2"), ("retry-after-ms", "1250")), 1.25),
    Row("OpenAI", 403, error("Country, region, or territory not supported", "request_forbidden", "unsupported_country_region_territory"), Outcome.DENIED, "developers.openai.com/docs/guides/error-codes"),
    Row("OpenAI", 403, error("Project `p` does not have access to model `gpt-5`", "invalid_request_error", "model_not_found"), Outcome.DENIED, "known"),
    Row("OpenAI", 400, error("Your request was rejected by our safety system", "image_generation_user_error", "moderation_blocked"), POLICY, "ucx0204/CarrotMangaTranslator#122"),
    Row("OpenAI", 400, error("Your request was rejected", "invalid_request_error", "content_policy_violation"), POLICY, "known"),
    Row("OpenAI", 400, error("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_request_error", "invalid_prompt"), POLICY, "known"),
    Row("OpenAI", 400, error("Invalid 'messages[0].content': string too long. Expected a string with maximum length 10485760", "invalid_request_error", "string_above_max_length"), Outcome.REJECTED, "known"),
    Row("Azure", 429, error("Requests to the ChatCompletions_Create Operation have exceeded call rate limit. Please retry after 6 seconds.", None, "RateLimitReached"), RATE, "learn.microsoft.com, quota", (("retry-after", "6"), ("retry-after-ms", "5600")), 5.6),
    Row("Azure", 400, {"error": {"message": "The response was filtered", "type": None, "param": "prompt", "code": None, "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}}}, POLICY, "learn.microsoft.com, content-filter"),
    Row("Azure", 400, error("The response was filtered", None, "content_filter"), POLICY, "learn.microsoft.com, content-filter"),
    Row("Azure", 400, error("The chatCompletion operation does not work with the specified model, ada.", None, "OperationNotSupported"), Outcome.UNSUPPORTED, "known"),
    Row("Azure", 404, error("The API deployment for this resource does not exist.", None, "DeploymentNotFound"), Outcome.DENIED, "chatboxai/chatbox#861"),
    Row("Azure", 404, error("Resource not found", None, "404"), Outcome.UNSUPPORTED, "known"),
    Row("Azure AI", 400, error("Unknown model: phi", None, "unknown_model"), Outcome.DENIED, "known"),
    Row("vLLM", 400, error("This model's maximum context length is 128000 tokens. However, you requested 65535 output tokens and your prompt contains at least 62466 input tokens", "BadRequestError", 400), CONTEXT, "vllm-project/vllm#42474"),
    Row("vLLM", 400, error("You passed 5000 input tokens and requested 100 output tokens. However, the model's context length is only 4096 tokens", "BadRequestError", 400), CONTEXT, "known"),
    Row("vLLM", 400, error("'max_tokens' or 'max_completion_tokens' is too large: 65535. This model's maximum context length is 4096 tokens", "BadRequestError", 400), CONTEXT, "known"),
    Row("vLLM", 400, {"object": "error", "message": "The decoder prompt (length 10127) is longer than the maximum model length of 8192.", "type": "BadRequestError", "param": None, "code": 400}, CONTEXT, "Gabesarch/grounded-rl#16"),
    Row("vLLM", 400, error("max_tokens must be at least 1, got -186.", "BadRequestError", 400), Outcome.REJECTED, "vllm-project/vllm#4667"),
    Row("SGLang", 400, {"object": "error", "message": "The input (61709 tokens) is longer than the model's context length (40960 tokens).", "type": "BadRequestError", "param": None, "code": 400}, CONTEXT, "QwenLM/Qwen3#1321"),
    Row("SGLang", 400, {"object": "error", "message": "Requested token count exceeds the model's maximum context length of 8192 tokens.", "type": "BadRequestError", "param": None, "code": 400}, CONTEXT, "anomalyco/opencode#25230 (the sentence)"),
    Row("llama.cpp", 400, error("request (13392 tokens) exceeds the available context size (8192 tokens), try increasing it", "exceed_context_size_error", 400, n_ctx=8192), CONTEXT, "ggml-org/llama.cpp#15780"),
    Row("llama.cpp, first", 500, error("the request exceeds the available context size. try increasing the context size or enable context shift", "exceed_context_size_error", 500), CONTEXT, "ggml-org/llama.cpp#15780"),
    Row("llama.cpp, before", 400, error("the request exceeds the available context size. try increasing the context size", "invalid_request_error", 400), CONTEXT, "continuedev/continue#9797"),
    Row("llama.cpp, embeddings", 500, error("input (600 tokens) is too large to process. increase the physical batch size (current batch size: 512)", "server_error", 500), CONTEXT, "gpustack/gpustack#472"),
    Row("llama.cpp, loading", 503, error("Loading model", "unavailable_error", 503), Outcome.FAILED, "llama.cpp tools/server/README", (("retry-after", "5"),), 5.0),
    Row("llama-cpp-python", 500, error("Requested tokens (2285) exceed context window of 2048", "internal_server_error"), CONTEXT, "fedora-copr/logdetective-website#193"),
    Row("ds4", 400, {"error": {"message": "Prompt tokens (9) exceeds context size (8)", "type": "context_exceeded"}}, CONTEXT, "antirez/ds4#150"),
    Row("Ollama", 400, {"error": "the input length exceeds the context length"}, CONTEXT, "nano-step/nano-brain#208"),
    Row("Ollama", 503, {"error": "server busy, please try again.  maximum pending requests exceeded"}, Outcome.FAILED, "valentinfrlch/ha-llmvision#648"),
    Row("Ollama", 503, {"error": "Server overloaded, please retry shortly (ref: aaa)"}, Outcome.FAILED, "ollama/ollama#15934"),
    Row("LM Studio", 400, {"error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens"}, CONTEXT, "lmstudio-ai/lmstudio-bug-tracker#237"),
    Row("TGI", 422, {"error": "Input validation error: `inputs` must have less than 4096 tokens. Given: 4545", "error_type": "validation"}, CONTEXT, "meta-llama/llama#1103"),
    Row("TGI", 422, {"error": "Input validation error: `max_new_tokens` must be strictly positive", "error_type": "validation"}, Outcome.REJECTED, "known"),
    Row("TGI", 429, {"error": "Model is overloaded", "error_type": "overloaded"}, RATE, "TGI router, OpenAPI"),
    Row("TGI", 424, {"error": "Request failed during generation: Server error", "error_type": "generation"}, Outcome.FAILED, "TGI router, OpenAPI"),
    Row("Hugging Face", 422, {"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 8740 `inputs` tokens", "http_status_code": 422}}, CONTEXT, "huggingface/huggingface_hub#2763"),
    Row("Hugging Face", 503, {"error": "Model Qwen/Qwen2-VL-2B-Instruct is currently loading", "estimated_time": 176.7}, Outcome.FAILED, "huggingface/huggingface_hub#2763"),
    Row("Together", 403, error("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2019", "invalid_request_error"), CONTEXT, "docs.together.ai/docs/error-codes"),
    Row("Together", 402, error("Credit limit exceeded", "credit_limit"), QUOTA, "docs.together.ai/docs/error-codes"),
    Row("Together", 404, error("Unable to access model x.", "invalid_request_error", "model_not_available"), Outcome.DENIED, "known"),
    Row("Together", 503, error("Engine overloaded", "server_error"), Outcome.FAILED, "docs.together.ai/docs/error-codes"),
    Row("Groq", 429, error("Rate limit reached for model `llama`", "tokens", "rate_limit_exceeded"), RATE, "console.groq.com/docs/errors", (("retry-after", "7"),), 7.0),
    Row("Groq", 413, error("Request too large for model `llama` on tokens per minute (TPM)", "tokens", "rate_limit_exceeded"), RATE, "zeeyado/koassistant.koplugin#89"),
    Row("Groq", 413, error("Request Entity Too Large", "invalid_request_error", "request_too_large"), Outcome.REJECTED, "console.groq.com/docs/errors"),
    Row("Groq", 400, error("Failed to generate JSON.", "invalid_request_error", "json_validate_failed", failed_generation="{"), Outcome.REJECTED, "console.groq.com/docs/errors"),
    Row("Groq", 400, error("The model `x` has been decommissioned", "invalid_request_error", "model_decommissioned"), Outcome.DENIED, "RightNow-AI/openfang#60"),
    Row("Groq", 424, error("Failed Dependency", "invalid_request_error"), Outcome.FAILED, "console.groq.com/docs/errors"),
    Row("Groq", 498, error("Flex tier capacity exceeded", "capacity", "capacity_exceeded"), Outcome.FAILED, "console.groq.com/docs/errors"),
    Row("Groq", 499, error("Request cancelled"), Outcome.FAILED, "console.groq.com/docs/errors"),
    Row("OpenRouter", 400, error("This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens", None, 400), CONTEXT, "known"),
    Row("OpenRouter", 402, error("Insufficient credits", None, 402), QUOTA, "openrouter.ai/docs/api/errors"),
    Row("OpenRouter", 402, error("…", None, 402, metadata={"limit_source": "openrouter_in_flight_budget"}), RATE, "openrouter.ai/docs/api/reference/errors-and-debugging", (("retry-after", "3"),), 3.0),
    Row("OpenRouter", 402, error("…", None, 402, metadata={"limit_source": "openrouter_credits"}), QUOTA, "openrouter.ai/docs/api/reference/errors-and-debugging"),
    Row("OpenRouter", 403, error("…", None, 403, metadata={"limit_source": "openrouter_guardrail_budget"}), QUOTA, "openrouter.ai/docs/api/reference/errors-and-debugging"),
    Row("OpenRouter", 403, error("…", None, 403, metadata={"limit_source": "openrouter_workspace_budget"}), QUOTA, "openrouter.ai/docs/api/reference/errors-and-debugging"),
    Row("OpenRouter", 403, error("…", None, 403, metadata={"limit_source": "openrouter_key_limit"}), QUOTA, "openrouter.ai/docs/api/reference/errors-and-debugging"),
    Row("OpenRouter", 403, error("Your input was flagged", None, 403, metadata={"reasons": ["x"], "flagged_input": "…"}), POLICY, "openrouter.ai/docs/api/errors"),
    Row("OpenRouter", 408, error("Timed out", None, 408), Outcome.TIMED_OUT, "openrouter.ai/docs/api/errors"),
    Row("OpenRouter", 503, error("No available model provider", None, 503), Outcome.FAILED, "openrouter.ai/docs/api/errors", (("retry-after", "4"),), 4.0),
    Row("LiteLLM", 400, error("litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: OpenAIException - too long\nmodel=gpt-4", None, "400"), CONTEXT, "known"),
    Row("LiteLLM", 400, error("litellm.ContentPolicyViolationError: AzureException - filtered", None, "400"), POLICY, "known"),
    Row("LiteLLM", 400, error("litellm.BadRequestError: OpenAIException - This model's maximum context length is 8192 tokens.", None, "400"), CONTEXT, "known"),
    Row("LiteLLM", 404, error("litellm.NotFoundError: OpenAIException - The model `x` does not exist", None, "404"), Outcome.DENIED, "known"),
    Row("LiteLLM", 429, error("LiteLLM User: engineer-1, exceeded budget for model=x", "budget_exceeded", "429"), QUOTA, "OWASP/OpenCRE#1102"),
    Row("LiteLLM", 400, error("Budget has been exceeded! Current cost: 14.1, Max budget: 10", None, "400"), QUOTA, "BerriAI/litellm#14144"),
    Row("LiteLLM", 400, error("ExceededBudget: End User=x over budget.", "auth_error", 400), QUOTA, "OWASP/OpenCRE#1102"),
    Row("LiteLLM", 429, error("No deployments available - crossed budget: Exceeded budget for deployment model_name: x", None, "429"), QUOTA, "BerriAI/litellm#14144"),
    Row("LiteLLM", 429, error("No deployments available for selected model, Try again in 60 seconds.", None, "429"), RATE, "BerriAI/litellm#5177"),
    Row("Mistral", 400, {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_error", "param": None, "code": "3051"}, CONTEXT, "known"),
    Row("Mistral", 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}, Outcome.DENIED, "known"),
    Row("Mistral", 401, {"detail": "Unauthorized"}, Outcome.DENIED, "known"),
    Row("Mistral", 429, {"object": "error", "message": "Service tier capacity exceeded for this model.", "type": "invalid_request_error", "param": None, "code": None}, RATE, "continuedev/continue#6185"),
    Row("DeepSeek", 400, error("This model's maximum context length is 65536 tokens. However, you requested 70000 tokens", "invalid_request_error", "invalid_request_error"), CONTEXT, "known"),
    Row("DeepSeek", 400, error("Model Not Exist", "invalid_request_error", "invalid_request_error"), Outcome.DENIED, "ConardLi/easy-dataset#9"),
    Row("DeepSeek", 400, error("Content Exists Risk", "invalid_request_error", "invalid_request_error"), POLICY, "666ghj/BettaFish#108"),
    Row("DeepSeek", 402, error("Insufficient Balance", "unknown_error", "invalid_request_error"), QUOTA, "api-docs.deepseek.com/quick_start/error_codes"),
    Row("DeepSeek", 422, error("Invalid parameters", "invalid_request_error"), Outcome.REJECTED, "api-docs.deepseek.com/quick_start/error_codes"),
    Row("xAI", 429, {"code": "Some resource has been exhausted", "error": "Your team 16f2151a-40f4 has either used all available credits or reached its monthly spending limit."}, QUOTA, "continuedev/continue#10373"),
    Row("xAI", 403, {"code": "The caller does not have permission", "error": "Your newly created team doesn't have any credits or licenses yet."}, QUOTA, "continuedev/continue#12670"),
    Row("xAI", 400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}, CONTEXT, "cline/cline#3120 (the sentence), nocmt/LLMSearchPlus#2 (the shape)"),
    Row("xAI", 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xx."}, Outcome.DENIED, "i-am-bee/beeai-framework#447"),
    Row("xAI", 404, {"code": "Some requested entity was not found", "error": "The model grok-9 does not exist or your team does not have access to it."}, Outcome.DENIED, "known"),
    Row("Anthropic, compatible", 400, error("prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"), CONTEXT, "known"),
    Row("Anthropic, compatible", 400, error("Your credit balance is too low to access the Anthropic API.", "invalid_request_error"), QUOTA, "anthropics/claude-code#66314"),
    Row("Anthropic, compatible", 402, error("…", "billing_error"), QUOTA, "docs.anthropic.com, errors"),
    Row("Anthropic, compatible", 403, error("…", "billing_error"), QUOTA, "docs.anthropic.com, errors"),
    Row("Anthropic, compatible", 429, error("…", "rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}), QUOTA, "docs.anthropic.com, errors"),
    Row("Anthropic, compatible", 413, error("…", "rate_limit_error"), RATE, "known"),
    Row("Anthropic, compatible", 529, error("Overloaded", "overloaded_error"), Outcome.FAILED, "docs.anthropic.com, errors"),
    Row("Gemini, compatible", 400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}], Outcome.DENIED, "known"),
    Row("Gemini, compatible", 400, [{"error": {"code": 400, "message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION"}}], Outcome.DENIED, "google-gemini/gemini-cli#24641"),
    Row("Gemini, compatible", 400, [{"error": {"code": 400, "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "status": "INVALID_ARGUMENT"}}], CONTEXT, "google-gemini/gemini-cli#6678"),
    Row("Gemini, compatible", 429, [{"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED"}}], RATE, "ai.google.dev, rate-limits"),
    Row("Gemini, compatible", 503, [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}], Outcome.FAILED, "ai.google.dev, troubleshooting"),
    Row("Fireworks", 404, error("Model not found, inaccessible, and/or not deployed", "error", "NOT_FOUND"), Outcome.DENIED, "known"),
    Row("Fireworks", 412, error("Account alice is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices.", "error", "PRECONDITION_FAILED"), QUOTA, "pollinations/pollinations#12136"),
    Row("Fireworks", 400, error("The prompt is too long: 131073, model maximum context length: 131071", "invalid_request_error"), CONTEXT, "known"),
    Row("Cerebras", 429, {"message": "Requests per minute limit exceeded - too many requests sent.", "type": "too_many_requests_error", "param": "quota", "code": "request_quota_exceeded"}, RATE, "nminaya/grammar-nazi-bot#958"),
    Row("Cerebras", 429, {"message": "Tokens per minute limit exceeded", "type": "too_many_tokens_error", "param": "quota", "code": "token_quota_exceeded"}, RATE, "known"),
    Row("Cerebras", 429, {"message": "We're experiencing high traffic right now!", "type": "too_many_requests_error", "param": "queue", "code": "queue_exceeded"}, RATE, "known"),
    Row("Cerebras", 400, {"message": "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}, CONTEXT, "known"),
    Row("a gateway in front of it", 400, error("Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192", "invalid_request_error"), CONTEXT, "known"),
    Row("Moonshot", 429, error("Your account org-x <ak-x> is suspended due to insufficient balance, please recharge your account or check your plan and billing details", "exceeded_current_quota_error"), QUOTA, "MoonshotAI/kimi-code#1857"),
    Row("Moonshot", 403, error("Your account org-x <ak-x> is not active, organization <org-x> exceeded current quota, please check your plan and billing details", "exceeded_current_quota_error"), QUOTA, "MoonshotAI/Kimi-K2#5"),
    Row("Alibaba", 400, error("Access denied, please make sure your account is in good standing.", "Arrearage", "Arrearage"), QUOTA, "known"),
    Row("Alibaba", 400, error("Input data may contain inappropriate content.", "data_inspection_failed", "data_inspection_failed"), POLICY, "666ghj/BettaFish#449"),
    Row("Alibaba", 400, error("Input data may contain inappropriate content.", None, "DataInspectionFailed"), POLICY, "QwenLM/Qwen#938"),
    Row("a gateway", 413, error("…", "slow_down"), RATE, "OpenAI's word at another status"),
    Row("a gateway", 413, error("…", "tokens_exceeded"), RATE, "known"),
    Row("a gateway", 413, error("…", None, "RateLimitReached"), RATE, "Azure's word at another status"),
    Row("a gateway", 413, "<html>413 Request Entity Too Large</html>", Outcome.REJECTED, "nginx"),
    Row("Cloudflare", 520, "<html>Web server is returning an unknown error</html>", Outcome.FAILED, "Cloudflare, 5xx errors"),
    Row("Cloudflare", 524, "error code: 524", Outcome.TIMED_OUT, "Cloudflare, 5xx errors"),
]  # fmt: skip


def read(row: Row) -> ProviderError:
    body = row.body if isinstance(row.body, str) else json.dumps(row.body)
    return openai.read_error(body.encode())


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.who} {row.status} {index}" for index, row in enumerate(ROWS)])
def test_an_error_is_the_outcome_that_its_sender_means(row: Row) -> None:
    assert classify(row.status, read(row)) is row.outcome, row.source
    assert retryafter.parse(row.headers, 0.0) == row.wait


def test_every_word_and_every_sentence_that_decides_is_in_a_row() -> None:
    said = {word for row in ROWS for error in [read(row)] for word in (error.code, error.type, error.cause)}
    assert WORDS - said == set()
    messages = [openai_errors._GATEWAYS.sub("", read(row).message or "", 1) for row in ROWS]
    unused = [sentence.pattern for _, sentence in openai_errors.MEANINGS if not any(map(sentence.match, messages))]
    assert unused == []


@pytest.mark.parametrize("index", range(len(BY_WORDS)))
def test_every_row_of_the_table_decides_something(index: int) -> None:
    """Each is the first that fits some answer here, at each of its statuses."""
    statuses, words, outcome = BY_WORDS[index]
    for word in words:
        assert not any(word in others for at, (_, others, _) in enumerate(BY_WORDS) if at != index)
        for status in statuses:
            assert classify(status, ProviderError(code=word)) is outcome
            assert classify(status, ProviderError(type=word)) is outcome
            assert classify(status, ProviderError(cause=word)) is outcome


# What a client wrote stands in messages and fields of errors too, and decides nothing.
QUOTED = [
    (400, error("Invalid value: 'This model's maximum context length is 5 tokens'", "invalid_request_error"), Outcome.REJECTED),
    (400, error("Tool 'insufficient_quota' is unknown", "invalid_request_error", "invalid_value"), Outcome.REJECTED),
    (400, error("Unknown parameter: 'Your credit balance is too low'", "invalid_request_error", "unknown_parameter"), Outcome.REJECTED),
    (404, error("No response found with id 'The model x does not exist'", "invalid_request_error"), Outcome.UNSUPPORTED),
    (429, error("Rate limit reached for 'Your team x has either used all available credits or reached its monthly spending limit'", "requests", "rate_limit_exceeded"), RATE),
    (400, error("Failed to generate JSON.", "invalid_request_error", "json_validate_failed", failed_generation="content_filter"), Outcome.REJECTED),
    (403, error("…", None, 403, metadata={"limit_source": {"x": 1}}), Outcome.DENIED),
    (400, error("…", None, 400, innererror="content_filter", details=["insufficient_quota"]), Outcome.REJECTED),
    (500, error("The model 'x' does not exist", "server_error"), Outcome.FAILED),
    (401, error("insufficient_quota", None, "insufficient_quota"), Outcome.DENIED),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "outcome"), QUOTED, ids=range(len(QUOTED)))
def test_a_clients_words_decide_nothing(status: int, body: Any, outcome: Outcome) -> None:
    assert classify(status, openai.read_error(json.dumps(body).encode())) is outcome


@pytest.mark.parametrize(
    ("status", "word"), [(400, "model_decommissioned"), (403, "model_not_found"), (400, "OperationNotSupported")]
)
def test_a_model_that_the_client_chose_blames_no_target(status: int, word: str) -> None:
    assert classify(status, ProviderError(code=word), model_is_ours=False) is Outcome.REJECTED


def test_nothing_of_what_was_flagged_is_kept() -> None:
    """B44."""
    body = error("Your input was flagged", None, 403, metadata={"reasons": [], "flagged_input": "a secret thought"})
    assert "secret" not in repr(openai.read_error(json.dumps(body).encode()))


@pytest.mark.parametrize("length", [10, 100_000])
def test_a_long_sentence_is_read_in_no_time(length: int) -> None:
    message = "litellm." + "xError: " * length + "The model " + "does not " * length
    assert openai.read_error(json.dumps({"error": message}).encode()).code is None
