"""What an older sidecar must not ignore stands in `requires`, and a pool that it cannot serve is closed by it."""

from desired_support import a_written_target, config_of, run
from manifest_cases import keyed, pool, provider, secret
from modelpool_config import models as contract


def test_what_an_older_sidecar_must_not_ignore_is_required() -> None:
    asking = [{"name": "X-Tier", "value": "premium"}]
    hashed = {"type": "ConsistentHash", "consistentHash": {"by": "Header", "header": "X-Session"}}
    targets = [a_written_target("a", "openai", match={"headers": asking}), a_written_target("b", "openai")]
    result = run(provider(auth=keyed()), secret(api_key="k"), pool(targets=targets, strategy=hashed), pool("plain"))
    chosen, plain = config_of(result).pools
    assert (chosen.requires, plain.requires) == (("match", "strategies"), ())
    assert chosen.consistent_hash == contract.ConsistentHash(by="Header", header="X-Session")
    assert chosen.targets[0].match_headers == (contract.MatchHeader(name="X-Tier", value="premium"),)
    assert set(chosen.requires) <= contract.FEATURES


def test_a_pool_that_goes_by_prices_is_closed_by_a_sidecar_that_knows_other_strategies_only() -> None:
    """B52: it would not know the word, and must not guess."""
    result = run(provider(auth=keyed()), secret(api_key="k"), pool(strategy={"type": "LowestCost"}))
    (cheap,) = config_of(result).pools
    assert (cheap.strategy, cheap.requires) == ("LowestCost", ("lowest-cost", "strategies"))
    assert set(cheap.requires) <= contract.FEATURES


def test_limits_that_an_older_sidecar_does_not_know_are_required_where_they_stand() -> None:
    minute = {"name": "minute", "max": 9, "per": "1m"}
    limited = provider("limited", limits={"requests": [minute]})
    targets = [a_written_target("a", "openai", limits={"requests": [minute]})]
    result = run(
        limited,
        provider(auth=keyed()),
        secret(api_key="k"),
        pool("plain", limits={"requests": [minute]}),
        pool("by-header", limits={"requests": [{**minute, "by": "Header", "header": "x-tenant"}]}),
        pool("observing", limits={"requests": [{**minute, "mode": "Observe"}]}),
        pool("targets", targets=targets),
        pool("tokens", limits={"tokens": [minute]}),
        pool("used", targets=[a_written_target("a", "limited")]),
        pool("at-once", limits={"concurrency": {"max": 9}}),
        pool("targets-at-once", targets=[a_written_target("a", "openai", limits={"concurrency": {"max": 9}})]),
        pool("at-busy", targets=[a_written_target("a", "busy")]),
        provider("busy", limits={"concurrency": {"max": 9, "mode": "Adaptive"}}),
    )
    config = config_of(result)
    assert {pool.name: pool.requires for pool in config.pools} == {
        "at-busy": (),
        "at-once": (),
        "by-header": ("limits",),
        "observing": ("limits",),
        "plain": (),
        "targets": ("limits",),
        "targets-at-once": ("concurrency",),
        "tokens": ("limits",),
        "used": (),
    }
    assert {provider.name: provider.requires for provider in config.providers} == {
        "busy": ("concurrency",),
        "limited": ("limits",),
        "openai": (),
    }
    assert {"concurrency", "limits"} <= contract.FEATURES
    [held] = [pool.targets[0].limits.concurrency for pool in config.pools if pool.name == "targets-at-once"]
    assert held == contract.Concurrency(max=9, queue=None, mode="Fixed")
    assert [provider.limits.concurrency for provider in config.providers if provider.name == "busy"] == [
        contract.Concurrency(max=9, queue=None, mode="Adaptive")
    ]


def test_a_sidecar_that_knows_no_parameters_must_not_serve_a_pool_that_has_some() -> None:
    default = {"name": "temperature", "action": "Default", "value": "0.2"}
    remove = {"name": "user", "action": "Remove"}
    here = config_of(run(provider(), pool(parameters=[default, remove]))).pools[0]
    assert here.requires == ("parameters",)
    assert here.parameters == (
        contract.Parameter(name="temperature", action="Default", value="0.2"),
        contract.Parameter(name="user", action="Remove", value=None),
    )
    there = config_of(
        run(provider(), pool(targets=[a_written_target("a"), {**a_written_target("b"), "parameters": [remove]}]))
    ).pools[0]
    assert (there.requires, there.targets[1].parameters) == (("parameters",), here.parameters[1:])
    assert config_of(run(provider(), pool())).pools[0].requires == ()
