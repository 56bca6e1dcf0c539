"""Which pool a model name leads to (B7), and what is said where it leads nowhere (B43)."""

import pytest

from builders import a_pool, a_snapshot
from modelpool_config.models import ClosedPool
from modelpool_sidecar.core import access, routing
from modelpool_sidecar.core.access import Visitor
from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import ClosedPool as Closed
from modelpool_sidecar.core.snapshot import Pool, Snapshot

POOLS = [
    a_pool("exact", models=("gpt-4o", "gpt-4o-mini")),
    a_pool("short", models=("gpt-*",)),
    a_pool("long", models=("gpt-4*",)),
    a_pool("rest", models=("*",)),
]


def route(snapshot: Snapshot, model: str | None) -> Pool | Refusal:
    """What somebody without a key meets."""
    found = access.find(snapshot, model, Visitor(Register(), None, 0.0))
    return routing.closed(found) if isinstance(found, Closed) else found


@pytest.mark.parametrize(
    ("model", "pool"),
    [
        ("gpt-4o", "exact"),
        ("gpt-4o-mini", "exact"),
        ("gpt-4.1", "long"),
        ("gpt-4", "long"),
        ("gpt-5", "short"),
        ("gpt-", "short"),
        ("claude", "rest"),
        ("GPT-4o", "rest"),
    ],
)
def test_the_exact_name_then_the_longest_prefix_then_the_star(model: str, pool: str) -> None:
    found = route(a_snapshot(POOLS), model)
    assert isinstance(found, Pool)
    assert found.name == pool


def test_an_unknown_name_is_answered_with_what_there_is_and_the_nearest() -> None:
    refusal = route(a_snapshot([a_pool("chat"), a_pool("embed")]), "chatt")
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.param) == (404, "model_not_found", "model")
    assert refusal.message == "no model 'chatt' here; did you mean 'chat'? there is chat, embed"


def test_a_name_that_is_near_nothing_gets_the_list_alone() -> None:
    refusal = route(a_snapshot([a_pool("chat")]), "zzz")
    assert isinstance(refusal, Refusal)
    assert refusal.message == "no model 'zzz' here; there is chat"


def test_a_long_list_is_cut() -> None:
    refusal = route(a_snapshot([a_pool(f"pool-{index:02}") for index in range(23)]), "zzz")
    assert isinstance(refusal, Refusal)
    assert refusal.message.endswith("pool-19 and 3 more")


def test_without_any_pool_that_is_said() -> None:
    refusal = route(a_snapshot([]), "chat")
    assert isinstance(refusal, Refusal)
    assert refusal.message == "no model 'chat' here: no pool is declared yet"


@pytest.mark.parametrize("code", ["invalid_pool", "no_target", "sidecar_too_old"])
def test_a_closed_pool_answers_503_with_its_reason_and_leaves_the_others_alone(code: str) -> None:
    closed = ClosedPool.model_validate({"name": "bad", "models": ["bad"], "code": code, "message": "weights are 0"})
    snapshot = a_snapshot([a_pool("chat")], closed=[closed])
    refusal = route(snapshot, "bad")
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.message) == (503, code, "pool bad: weights are 0")
    assert isinstance(route(snapshot, "chat"), Pool)


def test_declared_names_are_listed_as_they_were_written() -> None:
    assert routing.declared(a_snapshot(POOLS)) == ("*", "gpt-*", "gpt-4*", "gpt-4o", "gpt-4o-mini")


def test_a_request_without_a_model_goes_to_the_star_or_is_told_so() -> None:
    found = route(a_snapshot(POOLS), None)
    assert isinstance(found, Pool)
    assert found.name == "rest"
    refusal = route(a_snapshot([a_pool("chat")]), None)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "missing_model"
