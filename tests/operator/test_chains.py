"""Where pools lead to other pools: each is there, and every way ends (B20)."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest_cases import pool, provider
from modelpool_config import codec
from modelpool_config import models as contract
from modelpool_operator.desired import Desired, desired
from modelpool_operator.namespaces import Verdict
from modelpool_operator.resources import observe

NOWHERE = "leads nowhere: there is no ModelPool"


def linked(**links: Mapping[str, list[str]]) -> Desired:
    """Pools by name, each with what `fallback.pools` names by reason."""
    return desired(observe([provider(), *(pool(name, fallback=rules(each)) for name, each in links.items())]))


def rules(links: Mapping[str, list[str]]) -> dict[str, Any]:
    return {"pools": [{"when": when, "poolRefs": [{"name": n} for n in names]} for when, names in links.items()]}


def verdict(result: Desired, name: str) -> Verdict:
    return result.verdicts["ModelPool", "default", name]


def kept(result: Desired) -> dict[str, dict[str, tuple[str, ...]]]:
    config = result.namespaces["default"].config
    return {each.name: {one.when: one.pools for one in each.fallback.pools} for each in config.pools}


def test_the_links_are_compiled_by_reason_and_asked_of_the_sidecar() -> None:
    result = linked(chat={"RateLimited": ["overflow"], "General": ["overflow", "last"]}, overflow={}, last={})
    assert result.problems == ()
    assert kept(result)["chat"] == {"RateLimited": ("overflow",), "General": ("overflow", "last")}
    requires = {each.name: each.requires for each in result.namespaces["default"].config.pools}
    assert requires == {"chat": ("fallbackPools",), "overflow": (), "last": ()}


def test_a_circle_is_shown_and_left_out_by_every_pool_on_it_and_nobody_else() -> None:
    result = linked(a={"General": ["b", "d"]}, b={"RateLimited": ["c"]}, c={"ContextLength": ["a"]},
                    d={"General": ["a"]}, e={"General": ["a"]}, f={"General": ["f"]})  # fmt: skip
    said = {name: [each.message for each in verdict(result, name).problems] for name in "abcdef"}
    without = "leads back here, so that the pool does without it"
    assert said == {
        "a": [
            f"fallback.pools[0].poolRefs[0].name {without}: a -> b -> c -> a",
            f"fallback.pools[0].poolRefs[1].name {without}: a -> d -> a",
        ],
        "b": [f"fallback.pools[0].poolRefs[0].name {without}: b -> c -> a -> b"],
        "c": [f"fallback.pools[0].poolRefs[0].name {without}: c -> a -> b -> c"],
        "d": [f"fallback.pools[0].poolRefs[0].name {without}: d -> a -> d"],
        "e": [],
        "f": [f"fallback.pools[0].poolRefs[0].name {without}: f -> f"],
    }
    assert {each.reason for name in "abcdf" for each in verdict(result, name).problems} == {"Cycle"}
    assert not verdict(result, "a").accepted
    assert kept(result) == {**{name: {} for name in "abcdf"}, "e": {"General": ("a",)}}


def test_a_pool_that_is_not_there_is_named_with_the_nearest_one_and_the_rest_serves() -> None:
    result = linked(chat={"General": ["overfow", "overflow"], "RateLimited": ["x"]}, overflow={})
    assert [(each.condition, each.reason, each.message) for each in verdict(result, "chat").problems] == [
        (
            "ResolvedRefs",
            "PoolNotFound",
            f"fallback.pools[0].poolRefs[0].name {NOWHERE} overfow in namespace default; did you mean overflow?",
        ),
        (
            "ResolvedRefs",
            "PoolNotFound",
            f"fallback.pools[1].poolRefs[0].name {NOWHERE} x in namespace default; kubectl get mpool -n default",
        ),
    ]
    assert verdict(result, "chat").accepted
    assert kept(result)["chat"] == {"General": ("overflow",)}


def test_a_pool_that_cannot_run_stays_named_so_that_it_serves_as_soon_as_it_can() -> None:
    lost = [{"name": "t", "providerRef": {"name": "gone"}}]
    result = desired(observe([provider(), pool(fallback=rules({"General": ["shut"]})), pool("shut", targets=lost)]))
    assert kept(result)["chat"] == {"General": ("shut",)}
    assert verdict(result, "chat").problems == ()


def test_the_digest_of_a_pool_covers_the_pools_that_it_reaches() -> None:
    def digests(model: str, last: dict[str, Any]) -> tuple[str, str]:
        targets = [{"name": "t", "providerRef": {"name": "other"}, "model": model}]
        others = [pool("far", targets=targets), pool("near", fallback=rules({"General": ["far"]}), **last)]
        seen = observe([provider(), provider("other"), pool(fallback=rules({"General": ["near"]})), *others])
        config = desired(seen).namespaces["default"].config
        by_name = {each.name: codec.pool_digest(config, each) for each in config.pools}
        return by_name["chat"], by_name["far"]

    (chat, far), (changed, far_changed) = digests("a", {}), digests("b", {})
    assert chat != changed
    assert far != far_changed
    assert digests("a", {"pinning": "Denied"})[1] == far
    assert digests("a", {"pinning": "Denied"})[0] != chat


_names = ["a", "b", "c", "d", "e"]


@given(
    st.fixed_dictionaries(
        {
            name: st.dictionaries(
                st.sampled_from(["General", "RateLimited"]),
                st.lists(st.sampled_from([*_names, "gone"]), min_size=1, max_size=4, unique=True),
            )
            for name in _names
        }
    )
)
def test_what_is_left_of_any_graph_has_no_circle(links: dict[str, dict[str, list[str]]]) -> None:
    result = linked(**links)
    left = {name: {other for each in found.values() for other in each} for name, found in kept(result).items()}
    while ends := [name for name, others in left.items() if not others & set(left)]:
        for name in ends:
            del left[name]
    assert left == {}
    codec.decode(codec.encode(result.namespaces["default"].config))


def test_a_config_that_names_a_pool_which_is_not_there_is_not_read() -> None:
    config = linked(chat={"General": ["overflow"]}, overflow={}).namespaces["default"].config
    cut = contract.Config(**{**dict(config), "pools": config.pools[:1]})
    with pytest.raises(codec.InvalidConfigError, match="pool chat, fallback General: no pool 'overflow'"):
        codec.decode(codec.encode(cut))
