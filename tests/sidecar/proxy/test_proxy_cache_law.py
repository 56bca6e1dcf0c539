"""B53 in any order of events: each client has one whole answer, and all is given back."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cached_bench import STREAM, Late, Slow, bench, left
from virtual import DONE, ROLE, SSE, HeldDownstream, a_chunk


class Sharing(RuleBasedStateMachine):
    """Clients with two questions that ask, hurry, dawdle and leave, and a provider that answers in whatever way.

    B9, B11, B31: while anyone waits there is one call for each question, as long as its answer is small enough to be
    shared; nobody's leaving ends another's answer; and in the end nothing is held.
    """

    def __init__(self) -> None:
        super().__init__()
        limit = {"name": "all", "max": 1_000, "per": 3_600_000, "burst": 1_000, "scope": "Sidecar"}
        self.it = bench(cache={"ttl": 1, "max_bytes": 3_000}, limits={"requests": (limit,), "concurrency": None})
        self.waiting: dict[str, list[HeldDownstream]] = {"one": [], "two": []}
        self.attempts: dict[str, list[Any]] = {"one": [], "two": []}
        self.everybody: list[HeldDownstream] = []

    @rule(name=st.sampled_from(["one", "two"]), slow=st.booleans())
    def ask(self, name: str, slow: bool) -> None:
        self.it.clock.advance(0.01)  # what is kept is gone by now
        client = Late() if slow else HeldDownstream()
        before = len(self.it.upstream.attempts)
        self.it.ask({**STREAM, "user": name}, downstream=client)
        self.attempts[name] += self.it.upstream.attempts[before:]
        self.waiting[name].append(client)
        self.everybody.append(client)

    @rule()
    def ready(self) -> None:
        for client in self.there:
            if isinstance(client, Slow):
                client.ready()

    @property
    def there(self) -> list[HeldDownstream]:
        return [*self.waiting["one"], *self.waiting["two"]]

    @rule(name=st.sampled_from(["one", "two"]), place=st.sampled_from([0, -1]))
    def leave(self, name: str, place: int) -> None:
        if self.waiting[name]:
            self.waiting[name].pop(place).leave()

    @rule(name=st.sampled_from(["one", "two"]), size=st.sampled_from([1, 3_000]))
    def speak(self, name: str, size: int) -> None:
        for attempt in self.begun(name):
            attempt.data(a_chunk("x" * size))
            attempt.large = attempt.large or size > 1

    @rule(name=st.sampled_from(["one", "two"]))
    def end(self, name: str) -> None:
        for attempt in self.begun(name):
            attempt.data(a_chunk("hi") + a_chunk(finish="stop") + DONE)
            attempt.end()

    @rule(name=st.sampled_from(["one", "two"]))
    def cut(self, name: str) -> None:
        for attempt in self.begun(name):
            attempt.data(a_chunk("hi"))
            attempt.error("cut")

    @rule(name=st.sampled_from(["one", "two"]))
    def refuse(self, name: str) -> None:
        for attempt in self.attempts[name]:
            if not getattr(attempt, "is_begun", False):
                attempt.answer({"error": {"message": "no"}}, 400)

    def begun(self, name: str) -> list[Any]:
        for attempt in self.attempts[name]:
            if not getattr(attempt, "is_begun", False):
                attempt.is_begun, attempt.large = True, False
                attempt.head(200, SSE)
                attempt.data(ROLE)
        return self.attempts[name]

    @invariant()
    def one_call_for_each_question(self) -> None:
        for name, clients in self.waiting.items():
            self.waiting[name] = [client for client in clients if client.end is None]
            self.attempts[name] = running = [attempt for attempt in self.attempts[name] if attempt.open]
            assert self.waiting[name] or not running, "nobody waits for it"
            assert len([each for each in running if not getattr(each, "large", False)]) <= 1
        assert self.it.proxy.in_flight <= len(self.everybody)

    def teardown(self) -> None:
        while slow := [each for each in self.there if isinstance(each, Slow) and each.end is None and each.is_full]:
            for client in slow:
                client.ready()
        for client in self.everybody:
            if client.end == "finished" and client.status == 200:
                assert client.body.startswith(ROLE)
                assert client.body.endswith(DONE)
        for client in self.there:
            client.leave()
        assert self.it.nothing_is_held()
        assert self.it.room.taken_bytes == 0
        assert not self.it.proxy._caching._calls
        assert len(self.it.records) == len(self.everybody)
        refused = [
            each for each in self.everybody if (each.status, each.headers.get("x-modelpool-attempts")) == (503, "0")
        ]
        assert left(self.it)[0] == 1_000 - len(self.everybody) + len(refused), (
            "who reached nobody, for all cool, pays not"
        )


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
