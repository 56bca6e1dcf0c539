"""Targets that are pools, from manifests to the config and to the words of the status (B7, B47a)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest_cases import pool, provider
from modelpool_config import codec
from modelpool_config import models as contract
from modelpool_operator.checks.behind import MOST_LEVELS, MOST_TARGETS
from modelpool_operator.conditions import Publication
from modelpool_operator.desired import Desired, desired
from modelpool_operator.namespaces import Verdict
from modelpool_operator.resources import observe
from status_cases import NOW, World, world

NOWHERE = "there is no ModelPool near in namespace default"
BACK = "leads back here, so that the pool does without it"


def at(name: str = "own", provider: str = "openai", **more: Any) -> dict[str, Any]:
    return {"name": name, "providerRef": {"name": provider}, **more}


def to(inner: str, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name or inner, "poolRef": {"name": inner}, **more}


def made(**pools: Any) -> Desired:
    """Pools by name: their targets, or their whole spec."""
    specs = {name: spec if isinstance(spec, dict) else {"targets": spec} for name, spec in pools.items()}
    return desired(observe([provider(), *(pool(name, **spec) for name, spec in specs.items())]))


def verdict(result: Desired, name: str) -> Verdict:
    return result.verdicts["ModelPool", "default", name]


def config(result: Desired) -> contract.Config:
    return result.namespaces["default"].config


def compiled(result: Desired, name: str) -> contract.Pool:
    return next(each for each in config(result).pools if each.name == name)


def said(result: Desired, name: str) -> list[tuple[str, str, str]]:
    return [(each.condition, each.reason, each.message) for each in verdict(result, name).problems]


def test_a_target_that_is_a_pool_is_compiled_with_every_default_and_asked_of_the_sidecar() -> None:
    limit = {"name": "m", "max": 9, "per": "1m"}
    result = made(
        chat=[
            to("near"),
            to("near", "again", weight=3, priority=2, match={"headers": [{"name": "x-a", "value": "1"}]},
               parameters=[{"name": "seed", "action": "Set", "value": "1"}], limits={"requests": [limit]}),
            at(),
        ],
        near=[at("a"), at("b")],
    )  # fmt: skip
    assert result.problems == ()
    chat = compiled(result, "chat")
    plain, written = chat.pool_targets
    assert plain.model_dump() == {
        "name": "near",
        "pool": "near",
        "weight": 1,
        "priority": 0,
        "parameters": (),
        "match_headers": (),
        "limits": {"requests": (), "tokens": (), "concurrency": None},
    }
    assert (written.name, written.pool, written.weight, written.priority) == ("again", "near", 3, 2)
    assert [written.match_headers[0].name, written.parameters[0].name, written.limits.requests[0].max] == [
        "x-a", "seed", 9,
    ]  # fmt: skip
    assert [target.name for target in chat.targets] == ["own"]
    assert chat.requires == ("chains", "limits", "match", "parameters")
    assert compiled(result, "near").requires == ()
    assert chat.fallback.max_attempts == 4, "five targets, those behind the pool counted"
    assert codec.decode(codec.encode(config(result))) == config(result)


@pytest.mark.parametrize(("inner", "attempts"), [(1, 2), (2, 2), (3, 3), (9, 4)])
def test_the_default_of_max_attempts_counts_what_stands_behind(inner: int, attempts: int) -> None:
    result = made(chat=[to("near")], near=[at(f"t{index}") for index in range(inner)])
    assert compiled(result, "chat").fallback.max_attempts == attempts


def test_an_inner_pool_that_is_not_there_leaves_its_target_out_and_not_the_pool() -> None:
    result = made(chat=[to("neer"), at()], near=[at()])
    message = "there is no ModelPool neer in namespace default; did you mean near?"
    assert said(result, "chat") == [
        ("ResolvedRefs", "PoolNotFound", f"targets[0].poolRef.name leads nowhere: {message}")
    ]
    assert verdict(result, "chat").accepted
    assert [(each.target, each.reason, each.message) for each in verdict(result, "chat").unresolved] == [
        ("neer", "PoolNotFound", f"poolRef leads nowhere: {message}")
    ]
    assert [target.name for target in compiled(result, "chat").targets] == ["own"]
    assert compiled(result, "chat").pool_targets == ()


def test_what_stands_in_another_namespace_is_not_reached_and_said_to_be_there() -> None:
    elsewhere = [provider("far"), pool("near")]
    manifests = [{**each, "metadata": {**each["metadata"], "namespace": "other"}} for each in elsewhere]
    result = desired(observe([provider(), pool("chat", targets=[at("a", "far"), to("near"), at()]), *manifests]))
    told = {each.target: each.message for each in verdict(result, "chat").unresolved}
    assert told == {
        "a": "there is no Provider far in namespace default; the one in namespace other is not reached from here",
        "near": f"poolRef leads nowhere: {NOWHERE}; the one in namespace other is not reached from here",
    }


def test_an_inner_pool_that_cannot_serve_tells_its_reason_to_the_target() -> None:
    result = made(
        chat=[to("bad"), to("empty"), to("deeper"), at()],
        bad={"targets": [at(weight=-1)]},
        empty=[at(provider="gone")],
        deeper=[to("empty")],
    )
    told = {each.target: (each.reason, each.message) for each in verdict(result, "chat").unresolved}
    assert told["bad"] == (
        "InvalidSpec",
        "ModelPool bad was not accepted: targets[0].weight must be between 0 and 1000000, not -1",
    )
    assert told["empty"][0] == told["deeper"][0] == "ProviderNotFound"
    assert told["empty"][1].startswith("ModelPool empty: no target can be used: own: there is no Provider gone")
    assert told["deeper"][1].startswith("ModelPool deeper: no target can be used: empty: ModelPool empty: no target")
    assert said(result, "chat") == [], "the inner pools say it themselves"
    assert {closed.name: closed.code for closed in config(result).closed} == {
        "bad": "invalid_pool",
        "empty": "no_target",
        "deeper": "no_target",
    }


def test_a_circle_is_named_by_every_pool_on_it_and_each_serves_with_what_is_left() -> None:
    """B7: a cycle is refused, and named in the condition."""
    result = made(a=[to("b"), at()], b=[to("c"), at()], c=[to("a")], d=[to("a")], e=[to("e"), at()])
    expected = {
        "a": "a -> b -> c -> a",
        "b": "b -> c -> a -> b",
        "c": "c -> a -> b -> c",
        "e": "e -> e",
    }
    for name, way in expected.items():
        assert said(result, name) == [("Accepted", "Cycle", f"targets[0].poolRef.name {BACK}: {way}")]
        assert not verdict(result, name).accepted
        assert [each.reason for each in verdict(result, name).unresolved] == ["Cycle"]
    assert said(result, "d") == []
    assert [target.pool for target in compiled(result, "d").pool_targets] == ["a"]
    [closed] = config(result).closed
    assert (closed.name, closed.code) == ("c", "no_target")
    assert "c -> a -> b -> c" in closed.message


def test_a_circle_that_takes_a_fallback_costs_the_fallback_and_not_the_target() -> None:
    back = {"pools": [{"when": "General", "poolRefs": [{"name": "outer"}, {"name": "other"}]}]}
    result = made(
        outer=[to("inner"), at()], inner={"targets": [at()], "fallback": back}, other=[at()],
    )  # fmt: skip
    assert said(result, "inner") == [
        (
            "Accepted",
            "Cycle",
            f"fallback.pools[0].poolRefs[0].name {BACK}: inner -> outer -> inner",
        )
    ]
    assert said(result, "outer") == []
    assert [target.pool for target in compiled(result, "outer").pool_targets] == ["inner"]
    assert [each.pools for each in compiled(result, "inner").fallback.pools] == [("other",)]


def test_two_ways_to_one_pool_are_no_circle() -> None:
    result = made(chat=[to("left"), to("right")], left=[to("base")], right=[to("base")], base=[at()])
    assert result.problems == ()
    assert compiled(result, "chat").fallback.max_attempts == 2


def test_pools_behind_each_other_end_at_a_bound() -> None:
    names = [f"p{index}" for index in range(MOST_LEVELS + 2)]
    chain = {name: [to(inner), at()] for name, inner in zip(names[1:], names, strict=False)}
    result = made(p0=[at()], **chain)
    for name in names[:MOST_LEVELS]:
        assert said(result, name) == []
    text = f"must have at most {MOST_LEVELS - 1} pools behind each other, not {MOST_LEVELS}"
    assert said(result, names[MOST_LEVELS]) == [("Accepted", "InvalidSpec", f"targets[0].poolRef.name {text}")]
    [left_out] = verdict(result, names[MOST_LEVELS]).unresolved
    assert (left_out.reason, left_out.message) == ("InvalidSpec", f"ModelPool p{MOST_LEVELS - 1}: a target {text}")
    assert said(result, names[MOST_LEVELS + 1]) == [], "the one that was cut is a short way again"


def test_targets_behind_a_pool_end_at_a_bound() -> None:
    wide = [at(f"t{index}") for index in range(64)]
    count = MOST_TARGETS // 64
    result = made(wide=wide, chat=[at(), *(to("wide", f"w{index}") for index in range(count))])
    text = f"must lead to at most {MOST_TARGETS} targets with all others, not {MOST_TARGETS + 1}"
    assert said(result, "chat") == [("Accepted", "InvalidSpec", f"targets[{count}].poolRef.name {text}")]
    assert len(compiled(result, "chat").pool_targets) == count - 1


def test_the_digest_of_a_pool_covers_the_pools_behind_it() -> None:
    def digests(weight: int) -> dict[str, str]:
        result = made(outer=[to("middle")], middle=[to("inner")], inner=[at(weight=weight)], other=[at()])
        return {each.name: codec.pool_digest(config(result), each) for each in config(result).pools}

    before, after = digests(1), digests(2)
    assert {name for name in before if before[name] != after[name]} == {"outer", "middle", "inner"}


@given(
    st.dictionaries(
        st.sampled_from("abcdefg"),
        st.lists(
            st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["target", "fallback"])), max_size=5, unique=True
        ),
        min_size=1,
        max_size=7,
    )
)
def test_whatever_pools_point_at_each_other_a_readable_config_comes_out(
    links: dict[str, list[tuple[str, str]]],
) -> None:
    """And every pool that has a target of its own serves."""
    pools: dict[str, Any] = {}
    for name, each in links.items():
        refs = [{"name": other} for other, kind in each if kind == "fallback"]
        more = {"fallback": {"pools": [{"when": "General", "poolRefs": refs}]}} if refs else {}
        pools[name] = {"targets": [at(), *(to(other) for other, kind in each if kind == "target")], **more}
    result = made(**pools)
    decoded = codec.decode(codec.encode(config(result)))
    assert {each.name for each in decoded.pools} == set(links)
    assert decoded.closed == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pool": "b"}, "pools lead to each other in a circle: a, b"),
        ({"pool": "gone"}, "pool a, target b: no pool 'gone'"),
        ({"name": "own"}, "targets of pool a: the name 'own' stands there twice"),
    ],
)
def test_a_sidecar_refuses_a_config_without_an_end(change: dict[str, Any], sentence: str) -> None:
    good = config(made(a=[at(), to("b")], b=[at(), to("c")], c=[at()]))
    raw = good.model_dump(mode="json", by_alias=True)
    assert codec.decode(codec.encode(good)) == good
    raw["pools"][0]["poolTargets"][0].update(change)
    raw["pools"][1]["poolTargets"][0]["pool"] = "a" if change.get("pool") == "b" else "c"
    with pytest.raises(codec.InvalidConfigError, match=sentence):
        codec.decode(codec.encode(contract.Config.model_validate(raw)))


# -- what the status says


def standing(**pools: Any) -> World:
    specs = {name: spec if isinstance(spec, dict) else {"targets": spec} for name, spec in pools.items()}
    return world(provider(), *(pool(name, **spec) for name, spec in specs.items()))


def test_a_pool_with_an_inner_pool_that_is_not_there_is_degraded_and_serves() -> None:
    """B47a."""
    made = standing(chat=[to("near"), at()])
    assert made.said("Accepted")[:2] == ("True", "Accepted")
    assert made.said("ResolvedRefs") == (
        "False",
        "PoolNotFound",
        f"target near: poolRef leads nowhere: {NOWHERE}; kubectl get mpool -n default",
    )
    assert made.said("Ready")[:2] == ("True", "Degraded")
    assert made.status()["targetsResolved"] == "1/2"
    assert made.status()["targets"] == [
        {"name": "near", "state": "Unresolved", "reason": "PoolNotFound"},
        {"name": "own", "state": "Resolved"},
    ]


def test_a_circle_is_named_in_the_condition() -> None:
    made = standing(chat=[to("near"), at()], near=[to("chat"), at()])
    status, reason, message = made.said("Accepted")
    assert (status, reason) == ("False", "Cycle")
    assert message == f"targets[0].poolRef.name {BACK}: chat -> near -> chat"
    assert made.said("Ready")[:2] == ("False", "Cycle")
    assert made.status()["targets"][0] == {"name": "near", "state": "Unresolved", "reason": "Cycle"}


def test_a_change_of_the_inner_pool_is_programmed_in_both_only_when_it_is_written() -> None:
    before = standing(chat=[to("near")], near=[at()])
    after = standing(chat=[to("near")], near=[at(weight=7)])
    old = after.with_publication(Publication(before.compiled.digests, NOW))
    for name in ("chat", "near"):
        key = ("ModelPool", "default", name)
        assert old.said("Programmed", key)[:2] == ("Unknown", "Pending")
        assert after.said("Programmed", key)[:2] == ("True", "Programmed")


def test_one_pool_as_the_only_target_has_a_second_one_to_ask_beside_a_slow_one() -> None:
    result = made(chat={"targets": [to("near")], "hedging": {"percentile": 95}}, near=[at("a"), at("b")])
    assert result.problems == ()
    assert compiled(result, "chat").hedging == contract.Hedging(percentile=95, delay=None, max_percent=5)
