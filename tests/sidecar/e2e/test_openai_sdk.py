"""The official openai SDK as a person uses it, over real sockets: sync and async, plain, streaming, and in trouble."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from builders import a_pool, a_target
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running

T = TypeVar("T")
HELLO: Any = [{"role": "user", "content": "hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
async def house() -> AsyncIterator[Running]:
    async with running() as held:
        yield held


def asynchronous(house: Running, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=house.base_url, api_key="unused", **options)


async def synchronous(house: Running, work: Callable[[OpenAI], T], **options: Any) -> T:
    """The sync client blocks, so it works in a thread beside the sidecar's loop."""

    def run() -> T:
        with OpenAI(base_url=house.base_url, api_key="unused", **options) as client:
            return work(client)

    return await asyncio.to_thread(run)


async def test_chat_sync_and_async(house: Running) -> None:
    answer = await synchronous(house, lambda client: client.chat.completions.create(model="chat", messages=HELLO))
    assert answer.choices[0].message.content == "I am primary as primary-model."
    async with asynchronous(house) as client:
        again = await client.chat.completions.create(model="chat", messages=HELLO)
    assert again.model == "primary-model"
    assert again.usage is not None
    assert again.usage.completion_tokens > 0


async def test_streaming_sync_and_async(house: Running) -> None:
    def read(client: OpenAI) -> str:
        stream = client.chat.completions.create(model="chat", messages=HELLO, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await synchronous(house, read) == "I am primary as primary-model."
    async with asynchronous(house) as client:
        stream = await client.chat.completions.create(
            model="chat", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).startswith("I am primary")
    assert chunks[-1].usage is not None


async def test_tools_plain_and_streaming(house: Running) -> None:
    async with asynchronous(house) as client:
        answer = await client.chat.completions.create(model="chat", messages=HELLO, tools=[WEATHER])
        assert answer.choices[0].message.tool_calls is not None
        call: Any = answer.choices[0].message.tool_calls[0]
        assert (call.function.name, answer.choices[0].finish_reason) == ("weather", "tool_calls")
        async with client.chat.completions.stream(model="chat", messages=HELLO, tools=[WEATHER]) as stream:
            final: Any = await stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.name == "weather"


async def test_structured_output(house: Running) -> None:
    class Place(BaseModel):
        city: str
        people: int

    async with asynchronous(house) as client:
        answer = await client.chat.completions.parse(model="chat", messages=HELLO, response_format=Place)
    assert isinstance(answer.choices[0].message.parsed, Place)


async def test_embeddings(house: Running) -> None:
    async with asynchronous(house) as client:
        answer = await client.embeddings.create(model="chat", input=["one", "two"])
    assert len(answer.data) == 2
    assert answer.usage.prompt_tokens > 0


async def test_completions(house: Running) -> None:
    async with asynchronous(house) as client:
        answer = await client.completions.create(model="chat", prompt="once")
    assert answer.choices[0].text


async def test_responses_plain_and_streaming(house: Running) -> None:
    async with asynchronous(house) as client:
        answer = await client.responses.create(model="chat", input="hello")
        assert answer.output_text == "I am primary as primary-model."
        stream = await client.responses.create(model="chat", input="hello", stream=True)
        kinds = [event.type async for event in stream]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


async def test_models(house: Running) -> None:
    async with asynchronous(house) as client:
        assert [model.id async for model in client.models.list()] == ["chat"]
        assert (await client.models.retrieve("chat")).owned_by == "modelpool"
        with pytest.raises(openai.NotFoundError, match="there is chat"):
            await client.models.retrieve("gpt-9")


async def test_the_raw_response_tells_who_answered(house: Running) -> None:
    async with asynchronous(house) as client:
        raw = await client.chat.completions.with_raw_response.create(model="chat", messages=HELLO)
    assert raw.headers["x-modelpool-target"] == "primary"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("400", openai.BadRequestError),
        ("401", openai.InternalServerError),  # our credential: 502, never the provider's 401
        ("422", openai.UnprocessableEntityError),
        ("429", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("503", openai.InternalServerError),
        ("Refuse", openai.InternalServerError),
        ("Reset", openai.InternalServerError),
    ],
)
async def test_errors_become_the_sdks_own_and_its_retries_do_not_multiply_with_ours(
    fault: str, error: type[openai.APIStatusError]
) -> None:
    async with running("primary", "backup") as house:
        for fake in house.fakes.values():
            fake.break_as(fault)
        async with asynchronous(house) as client:
            with pytest.raises(error) as raised:
                await client.chat.completions.create(model="chat", messages=HELLO)
        assert raised.type is error
        assert len(house.records) == 1, "the SDK did not repeat on top of us"
        assert all(len(fake.attempts) <= 2 for fake in house.fakes.values())


async def test_an_unknown_model_is_not_found_and_says_what_there_is(house: Running) -> None:
    async with asynchronous(house) as client:
        with pytest.raises(openai.NotFoundError, match="did you mean 'chat'"):
            await client.chat.completions.create(model="chatt", messages=HELLO)


async def test_a_base_url_without_v1_is_answered_with_the_right_one(house: Running) -> None:
    async with AsyncOpenAI(base_url=house.address, api_key="unused") as client:
        with pytest.raises(openai.NotFoundError, match=f"set base_url to {house.base_url}"):
            await client.chat.completions.create(model="chat", messages=HELLO)


async def test_a_limit_of_ours_is_a_rate_limit_error_that_the_sdk_waits_for() -> None:
    limit = {"name": "slow", "max": 60, "per": 60_000, "burst": 1, "scope": "Sidecar"}
    pool = a_pool(limits={"requests": (limit,), "concurrency": None})
    async with running("primary", pools=[pool]) as house, asynchronous(house, max_retries=0) as client:
        await client.chat.completions.create(model="chat", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as raised:
            await client.chat.completions.create(model="chat", messages=HELLO)
    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.response.headers["retry-after"] == "1"


async def test_the_clients_timeout_ends_the_attempt_too(house: Running) -> None:
    house.fakes["primary"].break_as("Hang")
    async with asynchronous(house, timeout=0.3, max_retries=0) as client:
        with pytest.raises((openai.APITimeoutError, openai.InternalServerError)):
            await client.chat.completions.create(model="chat", messages=HELLO)
    async with asyncio.timeout(5):
        await house.fakes["primary"].until(lambda fake: all(attempt.ended for attempt in fake.attempts))
    assert len(house.fakes["primary"].attempts) == 1
    await house.quiet()


async def test_a_stream_that_breaks_in_the_middle_raises_and_is_never_a_short_success(house: Running) -> None:
    parts = (b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"half"}}]}\n\n',)
    house.fakes["primary"].answer_with(RawAnswer(body=parts, ends="cut"))
    async with asynchronous(house) as client:
        stream = await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError) as raised:
            async for _ in stream:
                pass
    assert raised.value.code == "upstream_error"


async def test_a_stream_of_responses_that_breaks_in_the_middle_is_told_as_failed(house: Running) -> None:
    event = b'event: %b\ndata: {"type":"%b","sequence_number":%d%b}\n\n'
    parts = (
        event % (b"response.created", b"response.created", 0, b',"response":{"id":"resp_1","status":"in_progress"}'),
        event % (b"response.output_text.delta", b"response.output_text.delta", 1, b',"delta":"half"'),
    )
    house.fakes["primary"].answer_with(RawAnswer(body=parts, ends="cut"))
    async with asynchronous(house) as client:
        stream = await client.responses.create(model="chat", input="hello", stream=True)
        kinds: list[str] = []
        try:
            async for told in stream:
                kinds.append(told.type)  # noqa: PERF401 - what came before the error counts
        except openai.APIError:
            kinds.append("raised")
    assert kinds[-1] in ("response.failed", "raised")
    assert "response.completed" not in kinds


async def test_two_pools_answer_side_by_side() -> None:
    pools = [a_pool("chat", [a_target("primary")]), a_pool("other", [a_target("backup")])]
    async with running(pools=pools) as house, asynchronous(house) as client:
        answers = await asyncio.gather(
            *(
                client.chat.completions.create(model=model, messages=HELLO)
                for model in ("chat", "other") * 10  # interleaved
            )
        )
    assert {answer.model for answer in answers[::2]} == {"primary-model"}
    assert {answer.model for answer in answers[1::2]} == {"backup-model"}
