"""Streams that break in their middle, as words of several providers, and the one stream that a client should have."""

from typing import Any

import orjson

from builders import a_pool, a_provider, a_snapshot, a_target
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, SSE, Bench, HeldDownstream

NAMES = ("primary", "backup", "third")


WORDS = [" one", " two", " three", " four", " five"]


def pool_of(
    *ways: str,
    targets: int = 2,
    prefill: tuple[str, ...] = (),
    prefix: bool = False,
    tokens: Any = None,
    **changes: Any,
) -> Snapshot:
    names = NAMES[:targets]
    way = "Prefix" if prefix else "Message"
    if tokens is not None:
        changes["limits"] = {"requests": (), "tokens": (tokens,), "concurrency": None}
    able = {name: ["JSONSchema", "Audio", *(["Prefill"] if name in prefill else [])] for name in names}
    providers = [
        a_provider(name, models=[{"name": f"{name}-model", "capabilities": able[name], "prefill": way}])
        for name in sorted(names)
    ]
    pools = [a_pool(targets=[a_target(n, priority=p) for p, n in enumerate(names)], recovery=ways, **changes)]
    return a_snapshot(pools, providers)


def chunk(provider: str, delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    frame = {"id": f"id-{provider}", "created": len(provider), "model": f"{provider}-model", "choices": choices}
    return b"data: " + orjson.dumps({**frame, **more}) + b"\n\n"


def texts(provider: str, words: list[str]) -> bytes:
    role = chunk(provider, {"role": "assistant", "content": ""})
    return role + b"".join(chunk(provider, {"content": word}) for word in words)


def end(provider: str) -> bytes:
    return chunk(provider, {}, "stop") + DONE


def begun(bench: Bench, words: int = 3, **more: Any) -> HeldDownstream:
    client = bench.ask(stream=True, **more)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(texts("primary", WORDS[:words]))
    return client


def goes_on(bench: Bench, provider: str, words: list[str], *, ends: bool = True) -> None:
    assert bench.upstream.last.provider == provider
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(texts(provider, words) + (end(provider) if ends else b""))


def chunks(client: HeldDownstream) -> list[Any]:
    events = [each.removeprefix(b"data: ") for each in client.body.split(b"\n\n") if each.startswith(b"data: ")]
    return [orjson.loads(each) for each in events if each != b"[DONE]"]


def one_stream(client: HeldDownstream) -> str:
    """The text, where everything else is as one answer has it."""
    assert client.end == "finished"
    assert client.body.count(DONE) == 1
    assert client.body.endswith(DONE)
    assert {each["id"] for each in chunks(client)} == {"id-primary"}
    assert {each["model"] for each in chunks(client)} == {"primary-model"}
    assert {each["created"] for each in chunks(client)} == {7}
    choices = [choice for each in chunks(client) for choice in each["choices"]]
    assert {choice["index"] for choice in choices} == {0}
    assert sum("role" in choice["delta"] for choice in choices) == 1
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def asked(bench: Bench) -> Any:
    request = bench.upstream.last.request
    assert request is not None
    return orjson.loads(request.body)


def breaks(bench: Bench, fault: str) -> None:
    attempt = bench.upstream.last
    match fault:
        case "cut":
            attempt.data(b'data: {"choices":[{"delta":{"con')
            attempt.error("cut")
        case "end":
            attempt.end()
        case "stall":
            bench.clock.advance(120)
        case "error event":
            attempt.data(b'data: {"error":{"message":"overloaded"}}\n\n')
        case "oversized":
            attempt.data(b"data: " + b"x" * 1_100_000)
