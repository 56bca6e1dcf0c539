"""B53: what is kept is bounded by number, bytes and age; held against a plain model under any run of calls (B48)."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_snapshot, the_pool
from modelpool_sidecar.core.cache import OVERHEAD_BYTES, Cache, Entry
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.core.usage import NO_USAGE

TTL = 10.0


def snapshot(entries: int = 3, most: int = 4 * OVERHEAD_BYTES, names: tuple[str, ...] = ("chat",)) -> Snapshot:
    settings = {"ttl": int(TTL * 1000), "max_entries": entries, "max_bytes": most}
    return a_snapshot([a_pool(name, cache=settings) for name in names])


POOL = the_pool(snapshot())


def entry(size: int = 0, stored: float = 0.0, body: bytes = b"x") -> Entry:
    return Entry(False, False, body * size, (), NO_USAGE, stored)


def test_an_answer_is_found_until_it_is_too_old() -> None:
    cache = Cache()
    assert cache.find(POOL, b"k", 0) is None
    assert cache.keep(POOL, b"k", entry(), 0)
    assert cache.find(POOL, b"k", 9.9) is not None
    assert cache.find(POOL, b"other", 9.9) is None
    assert cache.find(POOL, b"k", TTL) is None
    assert (cache.bytes, repr(cache)) == (0, "<Cache: 0 answers, 0 bytes>")


def test_a_newer_answer_takes_the_place_of_the_older_one_and_its_age() -> None:
    cache = Cache()
    cache.keep(POOL, b"k", entry(5), 0)
    cache.keep(POOL, b"k", entry(7, stored=8), 8)
    found = cache.find(POOL, b"k", 15)
    assert found is not None
    assert (len(found.body), cache.bytes) == (7, found.size)


def test_what_is_larger_than_all_room_is_not_kept_and_pushes_nothing_out() -> None:
    cache = Cache()
    cache.keep(POOL, b"small", entry(), 0)
    cache.keep(POOL, b"k", entry(1), 0)
    assert not cache.keep(POOL, b"k", entry(4 * OVERHEAD_BYTES), 0)
    assert cache.find(POOL, b"small", 0) is not None
    assert cache.find(POOL, b"k", 0) is None, "the older answer was to be replaced"


def test_pools_share_one_bound_and_the_longest_unused_answer_goes_first() -> None:
    settings = {"ttl": 10_000, "max_entries": 3, "max_bytes": 4 * OVERHEAD_BYTES}
    both = a_snapshot([a_pool("chat", cache=settings), a_pool("other", cache=settings), a_pool("without")])
    chat, other = the_pool(both), the_pool(both, "other")
    cache = Cache(most_bytes=3 * OVERHEAD_BYTES)
    cache.keep(chat, b"1", entry(), 0)
    cache.keep(other, b"2", entry(), 0)
    cache.keep(chat, b"3", entry(), 0)
    cache.used(chat, b"1")
    cache.keep(chat, b"4", entry(), 0)
    assert cache.find(other, b"2", 0) is None
    assert [cache.find(chat, key, 0) is not None for key in (b"1", b"3", b"4")] == [True] * 3
    cache.keep(other, b"5", entry(), 0)
    assert cache.find(chat, b"3", 0) is None
    assert list(cache.sizes(both, 0)) == [("chat", 2, 2 * OVERHEAD_BYTES), ("other", 1, OVERHEAD_BYTES)]


def test_another_config_finds_nothing_and_what_no_snapshot_has_is_forgotten() -> None:
    """B48."""
    cache, later = Cache(), snapshot(entries=4)
    cache.keep(POOL, b"k", entry(), 0)
    assert cache.find(the_pool(later), b"k", 0) is None
    cache.retain(snapshot())
    assert cache.find(POOL, b"k", 0) is not None
    cache.retain(later)
    assert (cache.find(POOL, b"k", 0), cache.bytes) == (None, 0)
    cache.keep(the_pool(later), b"k", entry(), 0)
    cache.retain(a_snapshot([a_pool()]))
    assert cache.bytes == 0


def test_the_state_tells_what_is_kept_and_how_often_it_helped() -> None:
    cache, shot = Cache(), snapshot()
    told = cache.describe(POOL, 0)
    assert told is not None
    assert (told["entries"], told["bytes"], told["ratio"]) == (0, 0, None)
    assert (told["ttl"], told["maxEntries"], told["maxBytes"], told["temperature"]) == (10.0, 3, 4096, "Zero")
    assert list(cache.sizes(shot, 0)) == [("chat", 0, 0)]
    cache.missed(POOL)
    cache.keep(POOL, b"k", entry(2), 0)
    cache.used(POOL, b"k")
    cache.used(POOL, b"gone")
    told = cache.describe(POOL, 0)
    assert told is not None
    assert (told["entries"], told["bytes"], told["hits"], told["misses"]) == (1, OVERHEAD_BYTES + 2, 2, 1)
    assert told["ratio"] == 0.667
    assert list(cache.sizes(shot, TTL)) == [("chat", 0, 0)]
    assert cache.describe(the_pool(a_snapshot([a_pool()])), 0) is None


def test_no_answer_is_shown() -> None:
    """B44."""
    secret = Entry(False, False, b"a secret", (("content-type", "text/plain"),), NO_USAGE, 0.0)
    cache = Cache()
    cache.keep(POOL, b"k", secret, 0)
    assert "secret" not in f"{secret!r} {cache!r} {cache.describe(POOL, 0)}"
    assert secret.size == 8 + len("content-type") + len("text/plain") + OVERHEAD_BYTES


@dataclass
class Model:
    """What a cache is to be, as plainly as it can be said: the newest used last, each with its size and its end."""

    kept: dict[bytes, tuple[int, float]] = field(default_factory=dict)

    def clean(self, now: float) -> None:
        self.kept = {key: each for key, each in self.kept.items() if each[1] > now}

    def keep(self, key: bytes, size: int, now: float, entries: int, most: int) -> None:
        self.clean(now)
        self.kept.pop(key, None)
        if size > most:
            return
        while self.kept and (len(self.kept) >= entries or sum(each[0] for each in self.kept.values()) + size > most):
            del self.kept[next(iter(self.kept))]
        self.kept[key] = (size, now + TTL)

    def use(self, key: bytes) -> None:
        if key in self.kept:
            self.kept[key] = self.kept.pop(key)


keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"])
steps = st.lists(
    st.tuples(st.sampled_from(["keep", "use", "find"]), keys, st.integers(0, 2 * OVERHEAD_BYTES), st.floats(0, 6)),
    max_size=40,
)


@given(steps, st.integers(1, 4), st.integers(OVERHEAD_BYTES, 5 * OVERHEAD_BYTES))
def test_it_keeps_what_the_plain_model_keeps(run: list[tuple[str, bytes, int, float]], entries: int, most: int) -> None:
    pool, cache, model, now = the_pool(snapshot(entries, most)), Cache(), Model(), 0.0
    for what, key, size, passed in run:
        now += passed
        model.clean(now)
        there = cache.find(pool, key, now)
        assert (there is not None) == (key in model.kept)
        if what == "keep":
            one = entry(size, stored=now)
            assert cache.keep(pool, key, one, now) == (one.size <= most)
            model.keep(key, one.size, now, entries, most)
        elif what == "use" and there is not None:
            cache.used(pool, key)
            model.use(key)
        assert cache.bytes == sum(each[0] for each in model.kept.values()) <= most
        assert list(cache.sizes(_of(pool), now)) == [("chat", len(model.kept), cache.bytes)]


def _of(pool: Pool) -> Snapshot:
    settings = pool.cache
    assert settings is not None
    return snapshot(settings.max_entries, settings.max_bytes)


@given(st.lists(st.tuples(st.sampled_from(["chat", "other"]), keys, st.booleans()), max_size=40))
def test_all_pools_together_never_hold_more_than_the_process_may(run: list[tuple[str, bytes, bool]]) -> None:
    both, cache = snapshot(6, 6 * OVERHEAD_BYTES, ("chat", "other")), Cache(most_bytes=4 * OVERHEAD_BYTES)
    for name, key, keep in run:
        pool = the_pool(both, name)
        if keep:
            assert cache.keep(pool, key, entry(), 0)
            assert cache.find(pool, key, 0) is not None
        elif cache.find(pool, key, 0) is not None:
            cache.used(pool, key)
        assert cache.bytes == sum(size for _, _, size in cache.sizes(both, 0)) <= 4 * OVERHEAD_BYTES


@pytest.mark.parametrize("most", [0, OVERHEAD_BYTES - 1])
def test_a_process_without_room_keeps_nothing(most: int) -> None:
    cache = Cache(most_bytes=most)
    assert not cache.keep(POOL, b"k", entry(), 0)
    assert cache.bytes == 0
