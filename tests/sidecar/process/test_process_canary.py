"""No prompt, answer or key in anything that the process tells (B44): words that must not be found, everywhere.

The words go in wherever words can: prompts, answers, errors, headers, keys, the query. All that the process writes,
serves and exports is searched, with the log at its loudest; and what should be there is there.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from builders import a_config, a_pool, a_provider, a_target, an_api_key
from edge_support import client
from modelpool_sidecar.fake import FakeProvider
from modelpool_sidecar.fake.log import FakeAttempt
from modelpool_sidecar.fake.raw import Ending, RawAnswer
from otlp_receiver import OtlpReceiver, ReceivedSpan
from process_support import Process, Volume, eventually, fetch, question, ready
from virtual import ROLE, a_chunk, a_completion

PROMPT, ANSWER, KEY, OLD_KEY = "canary-prompt", "canary-answer", "canary-key", "canary-old-key"
CLIENT = {
    "authorization": "Bearer canary-client-key",
    "api-key": "canary-client-key",
    "cookie": "session=canary-cookie",
    "baggage": "user=canary-baggage",
    "x-forwarded-for": "canary-forwarded",
    "openai-organization": "canary-organization",
}
JSON = ("content-type", "application/json")
ERROR = b'{"error":{"message":"canary-error said in public","type":"canary type","code":"canary code"}}'
TRACE = "0af7651916cd43dd8448eb211c80319c"


def plays(attempt: FakeAttempt) -> RawAnswer | None:
    """By the word in the prompt: what goes wrong. Every answer has the word in its text, its headers, its errors."""
    told = (("x-request-id", "canary-request-id"), ("set-cookie", "canary-provider-cookie"))
    body = attempt.body.decode("utf-8", "replace")
    if "denied" in body:
        return RawAnswer(401, (JSON, *told), (ERROR,))
    if "rejected" in body:
        return RawAnswer(400, (JSON, *told), (ERROR,))
    if "failed" in body:
        return RawAnswer(500, (JSON, *told), (ERROR,))
    if "garbage" in body:
        return RawAnswer(200, (JSON, *told), (b"canary-garbage that is no JSON",))
    if "no http" in body:
        return RawAnswer(head=b"canary-head no http at all\r\n\r\n")
    if attempt.stream:
        ends: Ending = "cut" if "cut" in body else "clean"
        last = b"data: canary-event that is no JSON\n\n" if "malformed" in body else a_chunk(ANSWER, "stop")
        return RawAnswer(body=(ROLE, a_chunk(ANSWER), *(() if ends == "cut" else (last,))), ends=ends)
    return RawAnswer(200, (JSON, *told), (json.dumps(a_completion(ANSWER)).encode(),))


STREAMS = ("plain", "cut", "malformed", "failed")
QUESTIONS = ("plain", "rejected", "failed", "garbage", "no http", "denied")
"""Denied comes last: both providers cool after it."""


@pytest.fixture
async def providers() -> AsyncIterator[list[FakeProvider]]:
    fakes = [FakeProvider("primary"), FakeProvider("backup")]
    for fake in fakes:
        await fake.start()
        fake.answer_with(plays)
    yield fakes
    for fake in fakes:
        await fake.stop()


async def ask_everything(process: Process) -> int:
    """Each question whole and as streams, and what is refused; how many requests that is."""
    for word in STREAMS:
        async with client(process.ports[0]) as held:
            body = json.dumps(question(f"{PROMPT} {word}", stream=True)).encode()
            await held.post(
                body, more="Content-Type: application/json\r\nConnection: close\r\nCookie: canary-cookie\r\n"
            )
            await held.rest()
    for word in QUESTIONS:
        await process.ask(f"{PROMPT} {word}", headers=CLIENT)
    url = process.url("/v1/chat/completions")
    bad = [
        await fetch(f"{url}?key=canary-query", method="POST", headers=CLIENT, body={"canary-field": PROMPT}),
        await fetch(process.url("/v1/canary-path"), headers=CLIENT),
        await fetch(url, method="POST", headers={**CLIENT, "origin": "https://canary-origin.example"}, body={}),
        await fetch(url, method="POST", headers={**CLIENT, "content-encoding": "canary-encoding"}, body={}),
    ]
    assert [answer.status // 100 for answer in bad] == [4, 4, 4, 4]
    return len(QUESTIONS) + len(STREAMS) + len(bad)


async def test_no_word_of_anybodys_is_in_any_signal_and_the_signals_are_there(
    tmp_path: Path, providers: list[FakeProvider]
) -> None:
    volume, names = Volume(tmp_path), ("primary", "backup")
    health = {"failures": 1_000, "min_requests": 1_000}
    config = a_config(
        [a_pool(targets=[a_target(name, priority=index) for index, name in enumerate(names)])],
        [
            a_provider(fake.name, base_url=fake.base_url, auth=an_api_key(), health=health)
            for fake in sorted(providers, key=lambda fake: fake.name)
        ],
    )
    volume.put(config, {"openai.api-key": OLD_KEY})
    with OtlpReceiver() as collector:
        env = {**collector.env, "OTEL_EXPORTER_OTLP_HEADERS": "x-collector=canary-collector"}
        async with ready(volume, MODELPOOL_LOG_LEVEL="debug", MODELPOOL_DRAIN="2s", **env) as process:
            asked = await ask_everything(process)
            seen = [attempt.body for fake in providers for attempt in fake.attempts]
            assert all(any(f"{PROMPT} {word}".encode() in body for body in seen) for word in (*QUESTIONS, *STREAMS))
            volume.put(keys={"openai.api-key": KEY})
            await eventually(lambda: len(process.said("is in force")) == 2)
            traced = await process.ask(PROMPT, headers={**CLIENT, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
            assert (traced.status, ANSWER in traced.body.decode()) == (200, True)
            served = [await process.get(path) for path in ("/metrics", "/-/digest", "/-/config", "/-/state", "/readyz")]
            await eventually(lambda: len(process.out) == asked + 1)
            process.terminate()
            assert await process.ended() == 0
    sent = {attempt.header("authorization") for fake in providers for attempt in fake.attempts}
    assert sent == {f"Bearer {OLD_KEY}", f"Bearer {KEY}"}
    signals = {
        "standard output": "\n".join(process.out),
        "standard error": "\n".join(process.err),
        "spans": b"".join(collector.bodies).decode("utf-8", "replace"),
        **{f"answer {number}": answer.body.decode() for number, answer in enumerate(served)},
    }
    assert {name: text for name, text in signals.items() if "canary" in text} == {}
    one_tree_for_the_traced_request(collector.spans)
    one_line_per_request(process, asked + 1)


def one_tree_for_the_traced_request(spans: list[ReceivedSpan]) -> None:
    """SERVER -> chat -> POST per attempt, in the client's trace."""
    tree = [span for span in spans if span.trace_id == TRACE]
    (server,) = (span for span in tree if span.kind == "SERVER")
    (chat,) = (span for span in tree if span.name == "chat chat")
    attempts = [span for span in tree if span.name == "POST"]
    assert (server.name, server.parent_id) == ("POST /v1/chat/completions", "b7ad6b7169203331")
    assert chat.parent_id == server.span_id
    assert len(attempts) == len(tree) - 2 >= 1
    assert {attempt.parent_id for attempt in attempts} == {chat.span_id}


def one_line_per_request(process: Process, requests: int) -> None:
    lines = [json.loads(line) for line in process.out]
    assert len(lines) == requests
    assert {line["event"] for line in lines} == {"request"}
    assert lines[-1]["trace_id"] == TRACE
    assert not process.said("Traceback")
