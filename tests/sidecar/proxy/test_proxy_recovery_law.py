"""B26 as a law: whatever breaks where, the client has the beginning of the first answer, and all of it or an error."""

from dataclasses import dataclass
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_provider, a_snapshot, a_target
from modelpool_sidecar.core import sse
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, SSE, Bench, HeldDownstream

NAMES = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Manner:
    """How one provider answers: in which pieces, how far, with which end, and whether it says something else."""

    piece: int
    share: float
    size: int
    fault: str
    other: bool = False
    status: int = 200
    prefill: bool = False


manners = st.builds(
    Manner,
    piece=st.integers(1, 5),
    share=st.floats(0.2, 1),
    size=st.integers(1, 300),
    fault=st.sampled_from(["cut", "end", "stall", "error event"]),
    other=st.integers(0, 5).map(lambda n: n == 0),
    status=st.sampled_from([200] * 9 + [500, 429]),
    prefill=st.booleans(),
)


def pool_of(ways: tuple[str, ...], said: list[Manner]) -> Snapshot:
    names = NAMES[: len(said)]
    able = {name: ["Prefill"] if manner.prefill else [] for name, manner in zip(names, said, strict=True)}
    providers = [
        a_provider(name, models=[{"name": f"{name}-model", "capabilities": able[name]}]) for name in sorted(names)
    ]
    limits = {"requests": (), "concurrency": {"max": 1, "queue": None}}
    targets = [a_target(n, priority=p) for p, n in enumerate(names)]
    return a_snapshot([a_pool(targets=targets, recovery=ways, limits=limits)], providers)


def stream(provider: str, text: str, piece: int) -> bytes:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + orjson.dumps({"id": f"id-{provider}", "model": provider, "choices": [choice]}) + b"\n\n"

    pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
    role = chunk({"role": "assistant", "content": ""})
    return role + b"".join(chunk({"content": each}) for each in pieces) + chunk({}, "stop") + DONE


def plays(bench: Bench, manner: Manner, text: str, *, last: bool) -> None:
    """The attempt that runs is answered, and broken off at its place unless it is the last one."""
    attempt = bench.upstream.last
    assert attempt.request is not None
    if manner.status != 200 and not last:
        attempt.answer({"error": {"message": "no"}}, status=manner.status)
        return
    begun = orjson.loads(attempt.request.body)["messages"][1:]
    rest = text[len(begun[0]["content"].replace("!", "")) :] if begun else text
    whole = stream(attempt.provider, f"!{rest}" if manner.other and not last else rest, manner.piece)
    gives = whole if last else whole[: int(len(whole) * manner.share)]
    attempt.head(200, SSE)
    for at in range(0, len(gives), manner.size):
        if attempt.open:
            attempt.data(gives[at : at + manner.size])
    if not attempt.open or last:
        return
    match manner.fault:
        case "cut":
            attempt.error("cut")
        case "end":
            attempt.end()
        case "stall":
            bench.clock.advance(120)
        case _:
            attempt.data(b"\n\n" + b'data: {"error":{"message":"overloaded"}}\n\n')
            if attempt.open:
                attempt.end()


def text_of(client: HeldDownstream) -> tuple[str, list[Any]]:
    events = [event.data for event in sse.Scanner().feed(client.body) if event.data.startswith(b"{")]
    chunks = [chunk for chunk in map(orjson.loads, events) if "error" not in chunk]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks), chunks


@given(
    text=st.text(st.sampled_from('a é😀"\n\\'), min_size=1, max_size=20),
    said=st.lists(manners, min_size=1, max_size=4),
    ways=st.sampled_from([("Continue",), ("Replay",), ("Continue", "Replay"), ("Replay", "Continue")]),
    saved=st.booleans(),
)
def test_the_client_has_a_beginning_of_one_answer_and_all_of_it_or_an_error(
    text: str, said: list[Manner], ways: tuple[str, ...], saved: bool
) -> None:
    bench = Bench(pool_of(ways, said))
    client = bench.ask(stream=True)
    asked = 0
    while client.end is None and asked < len(bench.upstream.attempts):
        asked = len(bench.upstream.attempts)
        plays(bench, said[NAMES.index(bench.upstream.last.provider)], text, last=saved and asked == len(said))
        bench.clock.advance(2)
    bench.clock.advance(700)
    assert bench.snapshot is not None
    told = bench.state.describe(bench.snapshot, bench.clock.now())["pools"][0]
    assert (told["inFlight"], {each["inFlight"] for each in told["targets"]}) == (0, {0}), "B11"
    assert client.end is not None
    if client.status != 200:
        return
    got, chunks = text_of(client)
    if not chunks:  # the head went out in the long silence, and nobody had an answer
        assert client.end == "failed"
        return
    first = chunks[0]["id"]
    assert {chunk["id"] for chunk in chunks} == {first}
    assert sum("role" in chunk["choices"][0]["delta"] for chunk in chunks) == 1
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"][0]["finish_reason"]]
    if client.end == "finished":
        assert client.body.count(DONE) == 1
        assert client.body.endswith(DONE)
        assert finishes == ["stop"]
    else:
        assert DONE not in client.body
        assert len(finishes) <= 1
    plain = got.replace("!", "")  # what says something else begins with it, and only a rest may
    assert text.startswith(plain)
    assert client.end == "failed" or plain == text
    assert got.count("!") <= sum(manner.other for manner in said)
    assert bench.nothing_is_held()
