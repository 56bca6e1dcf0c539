"""docs/streams.md on real sockets: the early head (B24, B33), how a total failure ends after it (B25), usage (B32)."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
import yaml
from openai import AsyncOpenAI

import streams_picture
from manifest_cases import provider
from modelpool_config.models import Fake
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from running import Running, running
from stillness import again

PAGE = Path(__file__).parents[3] / "docs" / "streams.md"
TEXT = PAGE.read_text(encoding="utf-8")
HELLO: Any = [{"role": "user", "content": "hello"}]
SOON = {"timeouts": {"connect": 1_000, "first_token": 600, "idle": 600}}
IMPATIENT = {"hosted": SOON, "spare": SOON}


def example(**times: int) -> list[Any]:
    """The pool of the page, with shorter times."""
    block = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0]
    others = [provider(name, dialect="Fake") for name in ("hosted", "spare")]
    result = desired(observe([*others, yaml.safe_load(block)]))
    assert result.problems == ()
    [pool] = result.namespaces["default"].config.pools
    said = pool.streaming
    assert (said.head_hold, said.keep_alive, said.commit) == (15_000, 15_000, "FirstToken")
    return [pool.model_copy(update={"streaming": said.model_copy(update=times)})]


async def raw(held: Running, http: str, path: str = "chat/completions") -> tuple[bytes, bytes, BaseException | None]:
    """Head and body of a stream as they come from the socket, and how it ended: None is a FIN."""
    reader, writer = await asyncio.open_connection("127.0.0.1", held.sidecar.data_port)
    body = orjson.dumps({"model": "patient", "stream": True, "messages": HELLO, "input": "hello", "prompt": "hello"})
    head = f"POST /v1/{path} HTTP/{http}\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    got, ended = b"", None
    try:
        while part := await asyncio.wait_for(reader.read(65_536), 10):
            got += part
    except ConnectionError as error:
        ended = error
    writer.transport.abort()
    head_of, _, rest = got.partition(b"\r\n\r\n")
    return head_of, rest, ended


@again
async def test_a_client_hears_something_while_targets_are_tried_and_then_the_answer() -> None:
    pools = example(head_hold=100, keep_alive=100)
    async with running("hosted", "spare", pools=pools, changes=IMPATIENT, greeting="hi") as held:
        held.fakes["hosted"].break_as("Hang")
        head, body, ended = await raw(held, "1.1")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"x-modelpool-target" not in head.lower()
        before, _, after = body.partition(b": x-modelpool-target: second\n: x-modelpool-attempts: 2\n\n")
        assert before.count(b": keep-alive\n\n") >= 3
        assert b"data: [DONE]\n\n" in after
        assert body.endswith(b"0\r\n\r\n") or ended is None


@again
async def test_the_sdk_has_its_head_long_before_the_first_token() -> None:
    patient = {"timeouts": {"connect": 1_000, "first_token": 5_000, "idle": 5_000}}
    pools = example(head_hold=100, keep_alive=100)
    async with running("hosted", "spare", pools=pools, changes={"hosted": patient}, greeting="hi there") as held:
        held.fakes["hosted"].replace(Fake.model_validate({"script": [{"firstToken": 2_000}]}))
        async with AsyncOpenAI(base_url=held.base_url, api_key="k", max_retries=0) as client:
            started = time.monotonic()
            stream = await client.chat.completions.create(model="patient", messages=HELLO, stream=True)
            headed = time.monotonic() - started
            chunks = [chunk async for chunk in stream]
        assert headed < 1.9 < time.monotonic() - started
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).startswith("hi")
        assert all(chunk.choices for chunk in chunks)  # B32: usage was asked for, and does not show
        await held.quiet()
        assert held.records[0].usage.output_tokens


@pytest.mark.parametrize("http", ["1.1", "1.0"])
@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("chat/completions", b'"code":"deadline_exceeded"'),
        ("completions", b'"code":"deadline_exceeded"'),
        ("responses", b"event: response.failed\n"),
    ],
)
async def test_a_total_failure_after_the_head_is_the_operations_own_event_and_no_clean_end(
    http: str, path: str, event: bytes
) -> None:
    """B25: chunked, the last chunk is missing and the connection ends; without chunks it is reset."""
    pools = example(head_hold=50, keep_alive=100)
    async with running("hosted", "spare", pools=pools, changes=IMPATIENT) as held:
        for fake in held.fakes.values():
            fake.break_as("Hang")
        head, body, ended = await raw(held, http, path)
        assert head.split(b" ")[1] == b"200"
        assert event in body
        assert b"[DONE]" not in body
        assert not body.endswith(b"0\r\n\r\n")
        if http == "1.0":
            assert b"chunked" not in head.lower()
            assert isinstance(ended, ConnectionResetError)
        await held.quiet()


async def test_the_sdk_raises_for_a_total_failure_after_the_head() -> None:
    pools = example(head_hold=50, keep_alive=100)
    async with running("hosted", "spare", pools=pools, changes=IMPATIENT) as held:
        for fake in held.fakes.values():
            fake.break_as("Hang")
        async with AsyncOpenAI(base_url=held.base_url, api_key="k", max_retries=0) as client:
            stream = await client.chat.completions.create(model="patient", messages=HELLO, stream=True)
            with pytest.raises(openai.APIError) as raised:
                [chunk async for chunk in stream]
            assert "patient" in raised.value.message


def test_the_picture_is_what_its_script_draws() -> None:
    assert streams_picture.PAGE.read_text(encoding="utf-8") == streams_picture.picture()
