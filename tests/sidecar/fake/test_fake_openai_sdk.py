"""The fake provider as the official SDK sees it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from modelpool_config.models import Fake, FakeStep
from modelpool_sidecar.fake import FakeProvider

ASK: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": CITY}} for name in ("get_weather", "get_time")
]
FLAT_TOOLS: Any = [{"type": "function", "name": "get_weather", "parameters": CITY, "strict": True}]


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    provider = FakeProvider("primary", greeting="I am {name} as {model}; break me")
    await provider.start()
    yield provider
    await provider.stop()


@pytest.fixture
async def client(provider: FakeProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="unused", max_retries=0) as client:
        yield client


async def test_the_answer_says_who_gave_it_and_counts_its_tokens(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="gpt-x", messages=ASK)
    assert answer.choices[0].message.content == "I am primary as gpt-x; break me"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "gpt-x"
    assert answer.usage
    assert answer.usage.completion_tokens == 7
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 7


async def test_a_stream_says_the_same_and_its_usage_only_if_asked(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "I am primary as m; break me"
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    counted = await client.chat.completions.create(
        model="m", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    *_, last = [chunk async for chunk in counted]
    assert last.choices == []
    assert last.usage
    assert last.usage.completion_tokens == 7


async def test_n_choices_and_a_maximum_of_tokens(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m", messages=ASK, n=2, max_completion_tokens=2)
    assert [choice.message.content for choice in answer.choices] == ["I am", "I am"]
    assert {choice.finish_reason for choice in answer.choices} == {"length"}


@pytest.mark.parametrize(("parallel", "names"), [(True, ["get_weather", "get_time"]), (False, ["get_weather"])])
async def test_tools_are_called_with_arguments_that_conform(
    client: openai.AsyncOpenAI, parallel: bool, names: list[str]
) -> None:
    answer = await client.chat.completions.create(model="m", messages=ASK, tools=TOOLS, parallel_tool_calls=parallel)
    calls = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.type == "function"] == names
    assert all(call.function.arguments == '{"city":"text"}' for call in calls if call.type == "function")
    assert answer.choices[0].finish_reason == "tool_calls"
    async with client.chat.completions.stream(
        model="m", messages=ASK, tools=TOOLS, parallel_tool_calls=parallel
    ) as stream:
        streamed = (await stream.get_final_completion()).choices[0].message.tool_calls or []
    assert [(call.function.name, call.function.arguments) for call in streamed] == [
        (name, '{"city":"text"}') for name in names
    ]
    told: Any = [*ASK, answer.choices[0].message.model_dump(exclude_none=True)]
    told += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
    text = await client.chat.completions.create(model="m", messages=told, tools=TOOLS)
    assert text.choices[0].message.content == "I am primary as m; break me"


async def test_a_tool_choice_is_kept(client: openai.AsyncOpenAI) -> None:
    named = await client.chat.completions.create(
        model="m", messages=ASK, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "get_time"}}
    )
    assert [call.function.name for call in named.choices[0].message.tool_calls or ()] == ["get_time"]
    none = await client.chat.completions.create(model="m", messages=ASK, tools=TOOLS, tool_choice="none")
    assert none.choices[0].message.tool_calls is None


class Weather(BaseModel):
    city: str
    degrees: int
    tags: list[str]


async def test_structured_output_is_parsed_by_the_sdk(client: openai.AsyncOpenAI) -> None:
    chat = await client.chat.completions.parse(model="m", messages=ASK, response_format=Weather)
    assert chat.choices[0].message.parsed == Weather(city="text", degrees=0, tags=[])
    response = await client.responses.parse(model="m", input="hello", text_format=Weather)
    assert response.output_parsed == Weather(city="text", degrees=0, tags=[])
    plain = await client.chat.completions.create(model="m", messages=ASK, response_format={"type": "json_object"})
    assert plain.choices[0].message.content == "{}"


async def test_embeddings_are_the_same_as_numbers_and_as_base64(client: openai.AsyncOpenAI) -> None:
    packed = await client.embeddings.create(model="m", input=["a", "b", "a"], dimensions=5)
    plain = await client.embeddings.create(model="m", input=["a"], dimensions=5, encoding_format="float")
    assert packed.data[0].embedding == packed.data[2].embedding != packed.data[1].embedding
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, rel=1e-6)
    assert sum(number**2 for number in plain.data[0].embedding) == pytest.approx(1)
    tokens = await client.embeddings.create(model="m", input=[1, 2, 3])
    assert len(tokens.data) == 1
    assert tokens.usage.total_tokens >= 1


async def test_completions_answer_each_prompt(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model="m", prompt=["a", "b"])
    assert [choice.text for choice in answer.choices] == ["I am primary as m; break me"] * 2
    stream = await client.completions.create(model="m", prompt="a", stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "I am primary as m; break me"
    assert chunks[-1].usage


async def test_a_response_and_its_stream_come_to_the_same(client: openai.AsyncOpenAI) -> None:
    whole = await client.responses.create(model="m", input="hello")
    assert whole.output_text == "I am primary as m; break me"
    assert whole.usage
    assert whole.usage.output_tokens == 7
    async with client.responses.stream(model="m", input="hello") as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text == whole.output_text
    assert final.usage == whole.usage
    short = await client.responses.create(model="m", input="hello", max_output_tokens=2)
    assert (short.status, short.output_text) == ("incomplete", "I am")


async def test_a_response_calls_functions(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.create(model="m", input="hello", tools=FLAT_TOOLS)
    async with client.responses.stream(model="m", input="hello", tools=FLAT_TOOLS) as stream:
        streamed = await stream.get_final_response()
    for item in (answer.output[0], streamed.output[0]):
        assert item.type == "function_call"
        assert (item.name, item.arguments) == ("get_weather", '{"city":"text"}')
    told: Any = [
        {"role": "user", "content": "hello"},
        {"type": "function_call", "call_id": "1", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "sunny"},
    ]
    assert (await client.responses.create(model="m", input=told, tools=FLAT_TOOLS)).output_text


async def test_models_are_listed_and_the_unknown_is_not_found() -> None:
    provider = FakeProvider("one", models=["small", "org/large"])
    await provider.start()
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="k", max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == ["small", "org/large"]
        assert (await client.models.retrieve("org/large")).id == "org/large"
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("huge")
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError, match="`huge` does not exist"):
            await client.chat.completions.create(model="huge", messages=ASK)
    await provider.stop()


async def test_a_key_that_is_demanded_must_be_right() -> None:
    provider = FakeProvider("one", api_key="right")
    await provider.start()
    for key, fine in (("right", True), ("wrong", False)):
        async with openai.AsyncOpenAI(base_url=provider.base_url, api_key=key, max_retries=0) as client:
            if fine:
                await client.chat.completions.create(model="m", messages=ASK)
                continue
            with pytest.raises(openai.AuthenticationError) as caught:
                await client.chat.completions.create(model="m", messages=ASK)
            assert caught.value.code == "invalid_api_key"
    await provider.stop()


@pytest.mark.parametrize(
    ("status", "code", "kind", "told"),
    [
        (400, "context_length_exceeded", openai.BadRequestError, "context_length_exceeded"),
        (400, None, openai.BadRequestError, None),
        (401, None, openai.AuthenticationError, "invalid_api_key"),
        (403, None, openai.PermissionDeniedError, "unsupported_country_region_territory"),
        (404, None, openai.NotFoundError, "model_not_found"),
        (429, None, openai.RateLimitError, "rate_limit_exceeded"),
        (429, "insufficient_quota", openai.RateLimitError, "insufficient_quota"),
        (None, "insufficient_quota", openai.RateLimitError, "insufficient_quota"),
        (429, "own_words", openai.RateLimitError, "own_words"),
        (500, None, openai.InternalServerError, "server_error"),
        (529, None, openai.InternalServerError, None),
        (None, "own_words", openai.InternalServerError, "own_words"),
    ],
)
async def test_a_scripted_error_is_the_sdks_own_exception(
    status: int | None, code: str | None, kind: type[openai.APIStatusError], told: str | None
) -> None:
    provider = FakeProvider("one", Fake(script=(FakeStep(status=status, error=code),)))
    await provider.start()
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="k", max_retries=0) as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(model="m", messages=ASK)
    assert caught.value.code == told
    assert caught.value.request_id == "req_one1"
    limited = caught.value.status_code == 429 and code != "insufficient_quota"
    assert caught.value.response.headers.get("retry-after") == ("1" if limited else None)
    await provider.stop()


async def test_an_error_in_mid_stream_is_raised_after_the_tokens_before_it() -> None:
    provider = FakeProvider("one", Fake(script=(FakeStep(status=200, error="server_error", tokens=2),)))
    await provider.start()
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="k", max_retries=0) as client:
        stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
        seen = [(await anext(stream)).choices[0].delta.content for _ in range(3)]
        with pytest.raises(openai.APIError, match="had an error"):
            await anext(stream)
        assert seen == ["", "I", " am"]
        events = await client.responses.create(model="m", input="hello", stream=True)
        types = [event.type async for event in events]
        assert types[-3:] == ["response.output_text.delta", "error", "response.failed"]
    await provider.stop()


async def test_the_synchronous_sdk_works_from_a_thread(provider: FakeProvider) -> None:
    def use() -> tuple[str | None, str, str]:
        with openai.OpenAI(base_url=provider.base_url, api_key="unused", max_retries=0) as client:
            whole = client.chat.completions.create(model="m", messages=ASK).choices[0].message.content
            stream = client.chat.completions.create(model="m", messages=ASK, stream=True)
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            return whole, streamed, client.responses.create(model="m", input="hello").output_text

    assert await asyncio.to_thread(use) == ("I am primary as m; break me",) * 3
