"""The books of the table see what is held, wherever it is held: what they cannot see could leak (B11, B53)."""

from builders import a_pool, a_target
from conformance import books
from conformance.faults import breaks
from conformance.house import CALLERS, KEYS, TOTAL, House, house
from conformance.rows import until
from conformance.speech import Way

WAY = Way("chat", True)
KEY = f"authorization: Bearer {KEYS['alice']}"


async def begins(held: House) -> None:
    """A stream that has begun and does not end."""
    await held.turn("primary", breaks("middle", "stall"))
    client = held.client()
    await client.post(WAY.path, WAY.body(held.ident()), KEY)
    assert client.reader is not None
    await client.reader.readuntil(b"three")


async def test_what_a_request_holds_is_told_and_is_given_back() -> None:
    cap = {"concurrency": {"max": 4}}
    own = {"name": "alice", "limits": cap}
    async with house() as held:
        target = a_target("primary", limits={"concurrency": {"max": 4, "mode": "Adaptive"}})
        pool = a_pool(targets=[target], total=TOTAL, limits=cap, callers={**CALLERS, "entries": (own,)})
        await held.apply([pool], limits=cap)
        assert books.still_open(held) == []
        await begins(held)
        told = books.still_open(held)
        await held.settled()
        assert books.still_open(held) == []
    for sentence in (
        "chat: inFlight 1",
        "chat alice concurrency: inFlight 1",
        "chat primary: inFlight 1",
        "chat primary concurrency: inFlight 1",
        "primary: open 1",
        "primary concurrency: inFlight 1",
        "1 requests in flight",
        "1 attempts",
        "provider primary is at work on 1",
    ):
        assert sentence in told, told


async def test_who_waits_and_who_may_join_a_call_is_told() -> None:
    queue = {"concurrency": {"max": 1, "queue": {"max": 4, "timeout": 5_000}}}
    cache = {"ttl": 60_000, "max_entries": 4, "max_bytes": 1 << 16, "temperature": "Any"}
    async with house({"limits": queue, "cache": cache}) as held:
        await begins(held)
        await held.client().post(WAY.path, WAY.body(held.ident()))
        await until(lambda: held.sidecar.waiting == 1, "the second waits")
        told = books.still_open(held)
        assert {"chat: waiting 1", "1 requests in the queue", "2 calls that others may join"} <= set(told), told
        assert await held.settled() == []


async def test_a_fault_that_fails_itself_is_told() -> None:
    async with house() as held:
        held.primary.failed = ValueError("a row is wrong")
        assert books.still_open(held) == ["provider primary failed itself: ValueError('a row is wrong')"]
