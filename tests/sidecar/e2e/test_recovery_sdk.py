"""B26 over real sockets: an answer that is cut after 40 of 60 tokens is delivered whole, as one stream, to the SDK."""

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import openai
import orjson
import pytest
import yaml
from openai import AsyncOpenAI, OpenAI
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk

from builders import a_pool, a_target
from manifest_cases import provider
from modelpool_config.models import Fake
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from modelpool_sidecar.fake.raw import RawAnswer
from modelpool_sidecar.fake.speech import plain
from running import Running, running

T = TypeVar("T")
PAGE = Path(__file__).parents[3] / "docs" / "streams.md"
GREETING = "Both of us say the same."
WHOLE = "".join(plain(GREETING, 60))
HELLO: Any = [{"role": "user", "content": "hello"}]
PREFILL = {"backup": {"models": [{"name": "backup-model", "capabilities": ["Prefill"]}]}}
IDLE = {"primary": {"timeouts": {"idle": 300}}}
DONE = b"data: [DONE]\n\n"


def pools(*ways: str, **changes: Any) -> list[Any]:
    targets = [a_target(name, priority=index) for index, name in enumerate(("primary", "backup"))]
    return [a_pool(targets=targets, recovery=ways, **changes)]


def script(**step: Any) -> Fake:
    return Fake.model_validate({"script": [step]})


def breaks(held: Running, fault: str = "Cut") -> None:
    held.fakes["primary"].break_as(fault, tokens=40)
    held.fakes["backup"].replace(script(tokens=60))


def joined(chunks: Sequence[ChatCompletionChunk]) -> str:
    """The text, where everything else is as one answer has it."""
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert len({(chunk.id, chunk.created, chunk.model, chunk.system_fingerprint) for chunk in chunks}) == 1
    assert sum(choice.delta.role is not None for choice in choices) == 1
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert {choice.index for choice in choices} == {0}
    return "".join(choice.delta.content or "" for choice in choices)


async def synchronous(held: Running, work: Callable[[OpenAI], T]) -> T:
    def run() -> T:
        with OpenAI(base_url=held.base_url, api_key="unused", max_retries=0) as client:
            return work(client)

    return await asyncio.to_thread(run)


async def into(stream: Any, pieces: list[str]) -> None:
    async for chunk in stream:
        pieces += [chunk.choices[0].delta.content or ""]


@pytest.mark.parametrize("way", ["Continue", "Replay"])
@pytest.mark.parametrize("fault", ["Cut", "Stall"])
async def test_sync_and_async_get_the_whole_answer_as_one_stream(way: str, fault: str) -> None:
    changes = {**IDLE, **(PREFILL if way == "Continue" else {})}
    async with running(pools=pools(way), changes=changes, greeting=GREETING) as held:
        breaks(held, fault)
        ask: Any = {"model": "chat", "messages": HELLO, "stream": True}
        assert joined(await synchronous(held, lambda client: list(client.chat.completions.create(**ask)))) == WHOLE
        async with AsyncOpenAI(base_url=held.base_url, api_key="unused", max_retries=0) as client:
            stream = await client.chat.completions.create(**ask)
            assert joined([chunk async for chunk in stream]) == WHOLE
        await held.quiet()
        sent = orjson.loads(held.fakes["backup"].attempts[-1].body)["messages"]
        begun = "".join(plain(GREETING, 60)[:40])
        assert sent == [*HELLO, *([{"role": "assistant", "content": begun}] if way == "Continue" else [])]
        assert [str(each) for record in held.records for each in record.recoveries] == [f"{way}: Recovered"] * 2
        assert [len(fake.attempts) for fake in held.fakes.values()] == [2, 2]


@pytest.mark.parametrize("way", ["Continue", "Replay"])
async def test_the_bytes_are_those_of_one_stream_and_usage_is_the_sum_of_what_was_told(way: str) -> None:
    async with running(pools=pools(way), changes=PREFILL, greeting=GREETING) as held:
        breaks(held)
        body = {"model": "chat", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{held.base_url}/chat/completions", json=body) as answer,
        ):
            raw = await answer.read()
        assert answer.headers["x-modelpool-target"] == "primary"
        events = raw.split(b"\n\n")
        assert events.pop() == b""
        assert raw.count(DONE) == 1
        assert events[-1] == b"data: [DONE]"
        chunks = [ChatCompletionChunk.model_validate(orjson.loads(each[6:])) for each in events[:-1]]
        assert joined(chunks) == WHOLE
        assert raw.count(b'"role":"assistant"') == 1
        told = [chunk.usage for chunk in chunks if chunk.usage is not None]
        assert [usage.completion_tokens for usage in told] == [20 if way == "Continue" else 60]
        assert chunks[-1].usage is not None
        assert chunks[-1].choices == []


async def test_a_text_completion_is_continued_too() -> None:
    async with running(pools=pools("Continue"), changes=PREFILL, greeting=GREETING) as held:
        breaks(held)

        def read(client: OpenAI) -> list[Completion]:
            return list(client.completions.create(model="chat", prompt="Say:", stream=True))

        chunks = await synchronous(held, read)
        assert "".join(chunk.choices[0].text for chunk in chunks) == WHOLE
        assert len({chunk.id for chunk in chunks}) == 1
        assert orjson.loads(held.fakes["backup"].attempts[0].body)["prompt"].startswith("Say:Both of us")


async def test_another_answer_is_an_error_for_the_sdk_and_never_spliced() -> None:
    async with running(pools=pools("Replay")) as held:  # each says its own name
        breaks(held)
        async with AsyncOpenAI(base_url=held.base_url, api_key="unused", max_retries=0) as client:
            stream = await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
            pieces: list[str] = []
            with pytest.raises(openai.APIError, match="not recovered") as told:
                await into(stream, pieces)
        text = "".join(pieces)
        assert told.value.code == "upstream_error"
        assert text.startswith("I am primary")
        assert "backup" not in text
        await held.quiet()
        assert [str(each) for each in held.records[0].recoveries] == ["Replay: Differs"]


async def test_while_nothing_can_go_on_the_client_hears_of_the_fault() -> None:
    async with running(pools=pools("Continue"), greeting=GREETING) as held:  # nobody declares Prefill
        breaks(held)
        async with AsyncOpenAI(base_url=held.base_url, api_key="unused", max_retries=0) as client:
            stream = await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
            with pytest.raises(openai.APIError, match="no target is left for it"):
                await into(stream, [])


def spoken(provider: str, pieces: Sequence[str]) -> bytes:
    """A stream of these pieces, as raw UTF-8."""

    def event(delta: Any, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        frame = {"id": f"chatcmpl-{provider}", "object": "chat.completion.chunk", "created": 1, "model": provider}
        return b"data: " + orjson.dumps({**frame, "choices": [choice]}) + b"\r\n\r\n"

    role = event({"role": "assistant", "content": ""})
    return role + b"".join(event({"content": piece}) for piece in pieces) + event({}, "stop") + DONE


@pytest.mark.parametrize("ends", ["cut", "clean"])
async def test_cut_at_any_byte_the_sdk_has_the_whole_text(ends: Any) -> None:
    text = 'Grüße, 世界 😀👩\u200d🚀 - "ok"\n'
    first, second = spoken("primary", list(text)), spoken("backup", [text[:7], text[7:9], text[9:]])
    patient = {"primary": {"health": {"failures": 10_000, "min_requests": 10_000}}}
    async with running(pools=pools("Replay"), changes=patient) as held:
        held.fakes["backup"].answer_with(RawAnswer(body=(second,)))
        async with AsyncOpenAI(base_url=held.base_url, api_key="unused", max_retries=0) as client:
            for at in range(1, len(first), 41):
                held.fakes["primary"].answer_with(RawAnswer(body=(first[:at],), ends=ends))
                stream = await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
                assert joined([chunk async for chunk in stream]) == text, at
        await held.quiet()
        results = [str(each) for record in held.records for each in record.recoveries]
        assert set(results) == {"Replay: Recovered"}
        assert len(results) > len(held.records) / 2
        assert len(held.fakes["primary"].attempts) == len(held.records)


async def test_the_example_of_the_page_recovers() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8").split("## Recovery")[1], re.DOTALL)
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    others = [provider(name, dialect="Fake") for name in ("hosted", "spare")]
    result = desired(observe([*others, *documents]))
    assert result.problems == ()
    config = result.namespaces["default"].config
    known = {each.name: {"models": each.models} for each in config.providers}
    async with running("hosted", "vllm", "spare", pools=config.pools, changes=known, greeting=GREETING) as held:
        held.fakes["hosted"].break_as("Cut", tokens=40)
        held.fakes["vllm"].replace(script(tokens=60))
        chunks = await synchronous(
            held, lambda client: list(client.chat.completions.create(model="steady", messages=HELLO, stream=True))
        )
        assert joined(chunks) == WHOLE
        assert orjson.loads(held.fakes["vllm"].attempts[0].body)["continue_final_message"] is True
