"""What a pool that makes sense says all the same: what its targets lack, those behind pools counted (B7)."""

from typing import Any

import pytest

from manifest_cases import pool, provider, secret
from modelpool_operator.checks.reached import Reach
from status_cases import World, world

Raw = dict[str, Any]
PRICED = {"prices": {"inputPerMillion": "0.15", "outputPerMillion": "0.6"}}
MINI, CHAT = {"name": "gpt-4o-mini", **PRICED}, {"name": "chat", **PRICED}
ABLE = {"name": "gpt-4o-mini", "capabilities": ["Prefill"]}
KEYS = {"keys": {"secretRef": {"name": "team-keys"}}}
SENSE = "the spec makes sense"


def at(name: str, provider: str = "openai", model: str | None = "gpt-4o-mini") -> Raw:
    return {"name": name, "providerRef": {"name": provider}, **({} if model is None else {"model": model})}


def to(inner: str, name: str | None = None) -> Raw:
    return {"name": name or inner, "poolRef": {"name": inner}}


def said(made: World, kind: str = "Accepted", name: str = "chat") -> tuple[str, str, str]:
    return made.said(kind, ("ModelPool", "default", name))


@pytest.mark.parametrize(
    ("models", "target", "names", "unpriced"),
    [
        ([], {"model": "gpt-4o-mini"}, ["chat"], ["b"]),
        ([{"name": "gpt-4o-mini"}], {"model": "gpt-4o-mini"}, ["chat"], ["b"]),
        ([MINI], {"model": "gpt-4o-mini"}, ["chat"], []),
        ([MINI], {}, ["chat"], ["b"]),
        ([CHAT], {}, ["chat", "gpt-*"], []),
        ([CHAT], {}, ["chat", "code"], ["b"]),
    ],
)
def test_a_pool_with_prices_for_some_targets_only_names_the_others(
    models: list[Raw], target: Raw, names: list[str], unpriced: list[str]
) -> None:
    """The target a has a price (B14)."""
    targets = [at("a"), {"name": "b", "providerRef": {"name": "other"}, **target}, at("c", "gone")]
    made = world(
        provider(models=[MINI]),
        provider("other", models=models),
        pool(targets=targets, models=[{"name": each} for each in names]),
    )
    status, reason, message = said(made)
    assert (status, reason) == ("True", "Unpriced" if unpriced else "Accepted")
    if unpriced:
        told = "no price is declared for target b (Provider other): what is answered there counts as no cost"
        assert message == f"{SENSE}; {told}"


def test_a_pool_without_any_price_says_nothing_of_prices_unless_they_are_to_choose() -> None:
    """B1, B14."""
    assert said(world(provider(), pool()))[1] == "Accepted"
    made = world(provider(), pool(targets=[at("a"), at("b")], strategy={"type": "LowestCost"}))
    assert said(made) == (
        "True",
        "Unpriced",
        (
            f"{SENSE}; no price is declared for target a (Provider openai), target b (Provider openai): strategy "
            "LowestCost has nothing to go by and draws by weight"
        ),
    )
    assert said(world(provider(models=[MINI]), pool(targets=[at("a")], strategy={"type": "LowestCost"})))[1] == (
        "Accepted"
    )


def test_a_target_without_a_price_is_found_behind_pools_and_told_with_its_way() -> None:
    """B7, B14."""
    made = world(
        provider(models=[MINI]),
        provider("other"),
        pool(targets=[at("own"), to("near"), to("far")]),
        pool("near", targets=[at("a"), at("b", "other")]),
        pool("far", targets=[to("near", "in")]),
    )
    assert said(made) == (
        "True",
        "Unpriced",
        (
            f"{SENSE}; no price is declared for target near/b (ModelPool near, Provider other), target far/in/b "
            "(ModelPool far, ModelPool near, Provider other): what is answered there counts as no cost"
        ),
    )
    assert said(made, name="near")[2].startswith(f"{SENSE}; no price is declared for target b (Provider other):")


def test_a_target_without_a_model_is_asked_for_what_the_outer_pool_is_called() -> None:
    """B7: the model name that clients send passes through."""
    made = world(
        provider(models=[CHAT]),
        pool(targets=[at("own", model="chat"), to("near")]),
        pool("near", targets=[at("a", model=None), at("b", model="chat")]),
    )
    assert said(made)[1] == "Accepted"
    assert said(made, name="near")[2].startswith(f"{SENSE}; no price is declared for target a (Provider openai):")


@pytest.mark.parametrize(
    ("models", "ways", "expected"),
    [
        ([], ["Continue"], "NoPrefill"),
        ([{"name": "gpt-4o-mini"}], ["Replay", "Continue"], "NoPrefill"),
        ([{"name": "other", "capabilities": ["Prefill"]}], ["Continue"], "NoPrefill"),
        ([ABLE], ["Continue"], "Accepted"),
        ([], ["Replay"], "Accepted"),
    ],
)
def test_a_pool_that_wants_streams_continued_hears_that_nobody_declares_prefill(
    models: list[Raw], ways: list[str], expected: str
) -> None:
    """B26."""
    spec: Raw = {"targets": [at("a"), at("b")], "streaming": {"recovery": ways}}
    status, reason, message = said(world(provider(models=models), pool(**spec)))
    assert (status, reason) == ("True", expected)
    if expected == "NoPrefill":
        assert message == (
            f"{SENSE}; streaming.recovery names Continue, but no target's model declares Prefill: a stream that breaks "
            "is not continued"
        )


@pytest.mark.parametrize("able", [False, True])
def test_prefill_counts_where_it_is_declared_behind_a_pool_and_is_missed_where_it_is_not(able: bool) -> None:
    """B7, B26."""
    made = world(
        provider(models=[ABLE] if able else []),
        pool(targets=[to("near"), to("far")], streaming={"recovery": ["Continue"]}),
        pool("near", targets=[at("a")]),
        pool("far", targets=[to("near", "in")]),
    )
    told = (
        f"{SENSE}; streaming.recovery names Continue, but no target's model declares Prefill - that of target near/a "
        "(ModelPool near, Provider openai), target far/in/a (ModelPool far, ModelPool near, Provider openai) neither: "
        "a stream that breaks is not continued"
    )
    assert said(made) == (("True", "Accepted", SENSE) if able else ("True", "NoPrefill", told))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"hedging": {"delay": "1s"}}, "hedging does nothing"),
        ({"streaming": {"recovery": ["Replay"]}}, "streaming.recovery does nothing"),
        ({"hedging": {"delay": "1s"}, "streaming": {"recovery": ["Replay"]}},
         "hedging and streaming.recovery do nothing"),
        ({"streaming": {"recovery": []}}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_one_target_behind_a_pool_is_none_to_go_on_at(spec: Raw, told: str | None) -> None:
    """B23, B26: both take a target that was not asked yet."""
    made = world(provider(), pool(targets=[to("near")], **spec), pool("near", targets=[at("a")]))
    sentence = f"{SENSE}; {told}: target near/a (ModelPool near, Provider openai) is the only one to ask"
    assert said(made) == (("True", "Accepted", SENSE) if told is None else ("True", "NoSecondTarget", sentence))
    both = world(provider(), pool(targets=[to("near")], **spec), pool("near", targets=[at("a"), at("b")]))
    assert said(both) == ("True", "Accepted", SENSE)


@pytest.mark.parametrize(
    ("delay", "timeouts", "total"),
    [("2s", {"total": "1s"}, "1s"), ("10m", {}, "10m"), ("9m", {}, None), ("1s", {"total": "1001ms"}, None)],
)
def test_a_second_target_that_would_be_asked_when_the_time_is_over_is_none(
    delay: str, timeouts: Raw, total: str | None
) -> None:
    """B15, B23."""
    made = world(provider(), pool(targets=[at("a"), at("b")], hedging={"delay": delay}, timeouts=timeouts))
    late = f"{SENSE}; hedging does nothing: its delay ({delay}) is not shorter than timeouts.total ({total})"
    assert said(made) == (("True", "Accepted", SENSE) if total is None else ("True", "NoSecondTarget", late))


def test_all_remarks_are_told_and_the_first_is_the_reason() -> None:
    made = world(
        provider(), pool(targets=[at("a")], streaming={"recovery": ["Continue"]}, strategy={"type": "LowestCost"})
    )
    status, reason, message = said(made)
    assert (status, reason) == ("True", "Unpriced")
    assert "declares Prefill" in message
    assert message.endswith("streaming.recovery does nothing: target a (Provider openai) is the only one to ask")


def test_a_pool_that_is_not_accepted_or_reaches_nothing_hears_no_remark() -> None:
    """Its conditions say so already."""
    wants = {"streaming": {"recovery": ["Continue"]}}
    assert said(world(provider(), pool(targets=[at("a", "gone")], **wants)))[:2] == ("True", "Accepted")
    circle = world(provider(), pool(targets=[to("near"), at("a")], **wants), pool("near", targets=[to("chat")]))
    assert said(circle)[:2] == ("False", "Cycle")
    assert Reach(None).targets("chat") == ()
    assert Reach(None).pools("chat") == ()
    assert Reach(None).lost("chat") == ()


# -- what else is said of what stands behind a pool


def test_a_target_that_an_inner_pool_does_without_is_told_by_the_outer_one() -> None:
    """B47a: both are Degraded, and the outer one still has all of its own targets."""
    made = world(provider(), pool(targets=[to("near")]), pool("near", targets=[at("a"), at("b", "gone")]))
    lost = "target near/b: there is no Provider gone in namespace default; kubectl get mprov -n default"
    assert said(made, "ResolvedRefs") == ("False", "ProviderNotFound", lost)
    assert said(made, "Ready") == ("True", "Degraded", f"1 of 1 target can be asked: {lost}")
    assert made.status()["targetsResolved"] == "1/1"


def test_a_provider_behind_a_pool_that_is_drained_is_named() -> None:
    """B38."""
    made = world(provider(traffic="Drained"), pool(targets=[to("near")]), pool("near", targets=[at("a")]))
    told = "1 of 1 target can be asked; traffic is Drained by hand at Provider openai"
    assert said(made, "Ready") == ("True", "Manual", told)


def test_an_edit_that_was_refused_behind_a_pool_is_told_by_the_outer_one() -> None:
    """B47: of a Provider, and of the inner pool."""
    good = world(provider(), pool(targets=[to("near")]), pool("near", targets=[at("a")]))
    refused = {**at("a"), "weight": -1}
    made = world(provider(baseURL="ftp://x"), pool(targets=[to("near")]), pool("near", targets=[refused]), last=good)
    status, reason, message = said(made, "ResolvedRefs")
    assert (status, reason) == ("False", "InvalidSpec")
    weight, url = message.split("; Provider ")
    assert weight == (
        "ModelPool near: targets[0].weight must be between 0 and 1000000, not -1; the last accepted form stays in force"
    )
    assert url.startswith("openai: baseURL ")
    assert url.endswith("; the last accepted form stays in force")
    assert said(made, "Ready")[:2] == ("True", "Degraded")


def test_a_pool_to_fall_back_to_that_cannot_be_asked_is_told() -> None:
    """B20, B47a: whether it was never accepted or has no target."""
    refs = [{"name": each} for each in ("bad", "empty", "well")]
    made = world(
        provider(),
        pool(targets=[at("a")], fallback={"pools": [{"when": "General", "poolRefs": refs}]}),
        pool("bad", targets=[{**at("a"), "weight": -1}]),
        pool("empty", targets=[at("a", "gone")]),
        pool("well", targets=[at("a")]),
    )
    lost = (
        "fallback.pools: ModelPool bad cannot be asked: targets[0].weight must be between 0 and 1000000, not -1; "
        "fallback.pools: ModelPool empty cannot be asked: there is no Provider gone in namespace default; "
        "kubectl get mprov -n default"
    )
    assert said(made, "ResolvedRefs") == ("False", "InvalidSpec", lost)
    assert said(made, "Ready") == ("True", "Degraded", f"1 of 1 target can be asked: {lost}")


def test_a_target_of_any_name_can_be_the_one_that_keeps_files() -> None:
    """B20a."""
    made = world(provider(), pool(targets=[at("GPU_a")], stateful={"target": "GPU_a"}))
    assert said(made)[:2] == ("True", "Accepted")


def test_a_name_that_the_inner_pool_lost_is_no_fault_of_the_outer_one() -> None:
    made = world(
        provider(), pool(targets=[to("near")]), pool("near", targets=[at("a")], models=[{"name": "chat"}])
    )  # fmt: skip
    assert said(made, name="near")[:2] == ("False", "ModelNameConflict")
    assert said(made, "Ready")[:2] == ("True", "Ready")


@pytest.mark.parametrize(
    ("more", "entries", "ready"),
    [
        ([], {}, ("False", "SecretNotFound")),
        ([at("own")], {}, ("True", "Degraded")),
        ([], {"alice": "a" * 32}, ("True", "Ready")),
    ],
)
def test_a_pool_whose_targets_are_all_behind_one_that_nobody_may_use_is_not_ready(
    more: list[Raw], entries: dict[str, str], ready: tuple[str, str]
) -> None:
    """B20, B43: the callers of an inner pool alone get through."""
    made = world(
        provider(),
        pool(targets=[to("near"), *more]),
        pool("near", targets=[at("a")], callers=KEYS),
        *([secret("team-keys", **entries)] if entries else []),
    )
    assert said(made, "Ready")[:2] == ready
    if not entries:
        assert "ModelPool near: callers.keys.secretRef names the Secret" in said(made, "Ready")[2]
