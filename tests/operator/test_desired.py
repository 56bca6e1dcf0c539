"""What should exist, from what was observed."""

from typing import Any

import pytest

from manifest_cases import keyed, pool, provider, resource, secret
from modelpool_config import models as contract
from modelpool_operator.desired import Desired, desired
from modelpool_operator.forms import Accepted, Form
from modelpool_operator.resources import observe

Raw = dict[str, Any]


def _run(*manifests: object, last: Desired | None = None, **more: Any) -> Desired:
    """One pass; `last` is the pass before, with its accepted forms and the keys that it handed out."""
    accepted: Accepted = last.accepted if last else {}
    copied = {name: part.credentials for name, part in last.namespaces.items()} if last else {}
    return desired(observe(list(manifests), **more), last_good=accepted, copied=copied)


def _config(result: Desired, namespace: str = "default") -> contract.Config:
    return result.namespaces[namespace].config


def _target(name: str, at: str = "openai", **more: Any) -> Raw:
    return {"name": name, "providerRef": {"name": at}, **more}


def test_the_smallest_thing_that_works_is_filled_with_every_default() -> None:
    result = _run(provider(auth=keyed()), pool(), secret(api_key="sk-1\n"))
    assert result.problems == ()
    file = "openai-api-key-3a17fa7308"
    assert result.namespaces["default"].credentials == {file: "sk-1"}
    assert _config(result) == contract.Config(
        schema_version=contract.SCHEMA_VERSION,
        namespace="default",
        providers=(
            contract.Provider(
                name="openai",
                dialect="OpenAI",
                base_url="https://api.openai.com/v1",
                auth=contract.APIKey(
                    header="Authorization", prefix="Bearer ", credential=file, source="Secret openai, key api-key"
                ),
                headers=(),
                forward_headers=(),
                response_headers=(),
                traffic="Normal",
                timeouts=contract.ProviderTimeouts(
                    connect=5_000, head=None, first_token=120_000, idle=120_000, attempt=None
                ),
                health=contract.Health(
                    failures=5,
                    min_requests=10,
                    window=30_000,
                    cooldown=5_000,
                    max_cooldown=30_000,
                    successes=2,
                    ramp_up=10_000,
                ),
                connections=contract.Connections(max_open=512, idle_timeout=60_000),
                trace_propagation="None",
                fake=None,
            ),
        ),
        pools=(
            contract.Pool(
                name="chat",
                models=("chat",),
                strategy="Weighted",
                targets=(contract.Target(name="mini", provider="openai", model="gpt-4o-mini", weight=1, priority=0),),
                unresolved=(),
                fallback=contract.Fallback(
                    outcomes=(
                        "Unreachable",
                        "Failed",
                        "LocalLimit",
                        "RateLimited",
                        "QuotaExhausted",
                        "Denied",
                        "Unsupported",
                        "TimedOut",
                        "Stalled",
                        "Broken",
                        "Empty",
                    ),
                    statuses=(),
                    max_attempts=2,
                    same_target=contract.SameTarget(retries=None, initial=250, max=2_000, max_retry_after=0),
                    retry_budget=contract.RetryBudget(percent=20, min_per_second=3),
                ),
                limits=contract.Limits(requests=(), concurrency=None),
                total=600_000,
                last_resort="SoonestToRecover",
                pinning="Allowed",
                response_model="Served",
            ),
        ),
        closed=(),
    )


def test_what_is_written_wins_over_every_default() -> None:
    spoken = provider(
        "local",
        baseURL="http://vllm:8000/v1/",
        auth=keyed("s", "k", header="X-Key"),
        headers=[{"name": "x-a", "value": "1"}, {"name": "x-b", "secretRef": {"name": "s", "key": "k"}}],
        forwardHeaders=["x-c"],
        responseHeaders=[{"name": "x-d", "value": "2"}],
        traffic="Drained",
        timeouts={"connect": "1s", "head": "2s", "firstToken": "3s", "idle": "4s", "attempt": "5s"},
        health={
            "failures": 1,
            "minRequests": 2,
            "window": "3s",
            "cooldown": "4s",
            "maxCooldown": "5s",
            "successes": 6,
            "rampUp": "0s",
            "active": {"path": "/health", "period": "1s", "statuses": ["204", "3xx"]},
        },
        connections={"maxOpen": 7, "idleTimeout": "8s"},
        quotaDomain="team",
        tracePropagation="None",
        operations=["Chat", "Embeddings"],
        limits={"requests": [{"name": "account", "max": 9, "per": "1s"}]},
        models=[
            {"name": "a", "contextTokens": 8, "maxOutputTokens": 4, "capabilities": ["Prefill"], "prefill": "Prefix"},
            {"name": "b", "prices": {"inputPerMillion": "1.50"}},
        ],
    )
    day = {
        "name": "day",
        "max": 10**12,
        "per": 86_400_000,
        "burst": 10**12,
        "scope": "Divided",
        "by": "Pool",
        "header": None,
        "mode": "Enforce",
        "count": "Total",
    }
    tenants = {"by": "Header", "header": "X-Tenant", "mode": "Observe"}
    busy = pool(
        "busy",
        models=[{"name": "gpt-*"}, {"name": "x"}],
        targets=[_target("a", "local", weight=0, priority=3), _target("b", "local", weight=9)],
        strategy={"type": "Weighted"},
        fallback={
            "outcomes": ["Broken"],
            "statuses": [429, "5xx"],
            "maxAttempts": 9,
            "sameTarget": {"retries": 0, "backoff": {"initial": "1s", "max": "9s"}, "maxRetryAfter": "3s"},
            "retryBudget": {"percent": 0, "minPerSecond": 0},
        },
        limits={
            "requests": [{"name": "m", "max": 60, "per": "1m", "burst": 5, "scope": "Sidecar", **tenants}],
            "tokens": [{"name": "day", "max": 10**12, "per": "24h"}],
            "concurrency": {"max": 4, "queue": {"max": 7, "timeout": "3s"}},
        },
        timeouts={"total": "30s"},
        lastResort="Refuse",
        pinning="Denied",
        stateful={"target": "a"},
        response={"model": "Requested"},
        streaming={
            "commit": "Complete",
            "headHold": "0s",
            "keepAlive": "5s",
        },
        cache={"mode": "Exact", "ttl": "1h", "maxEntries": 7, "maxBytes": 65_536, "temperature": "Any"},
    )
    result = _run(spoken, busy, secret("s", k="v"))
    config = _config(result)
    assert config.providers[0].model_dump(by_alias=True, exclude={"name", "dialect", "requires", "fake"}) == {
        "baseUrl": "http://vllm:8000/v1",
        "auth": {"header": "X-Key", "prefix": "", "credential": "s-k-3de631bf79", "source": "Secret s, key k"},
        "headers": (
            {"name": "x-a", "value": "1", "credential": None, "source": ""},
            {"name": "x-b", "value": None, "credential": "s-k-3de631bf79", "source": "Secret s, key k"},
        ),
        "forwardHeaders": ("x-c",),
        "responseHeaders": ({"name": "x-d", "value": "2", "credential": None, "source": ""},),
        "traffic": "Drained",
        "timeouts": {"connect": 1000, "head": 2000, "firstToken": 3000, "idle": 4000, "attempt": 5000},
        "health": {
            "failures": 1,
            "minRequests": 2,
            "window": 3000,
            "cooldown": 4000,
            "maxCooldown": 5000,
            "successes": 6,
            "rampUp": 0,
            "active": {"path": "/health", "period": 1000, "timeout": 1000, "statuses": ("204", "3xx")},
        },
        "connections": {"maxOpen": 7, "idleTimeout": 8000},
        "quotaDomain": "team",
        "tracePropagation": "None",
        "models": (
            {
                "name": "a",
                "prices": None,
                "contextTokens": 8,
                "maxOutputTokens": 4,
                "capabilities": ("Prefill",),
                "prefill": "Prefix",
            },
            {
                "name": "b",
                "prices": {"inputPerMillion": "1.50", "cachedInputPerMillion": "1.50", "outputPerMillion": None},
                "contextTokens": None,
                "maxOutputTokens": None,
                "capabilities": None,
                "prefill": "Message",
            },
        ),
        "operations": ("Chat", "Embeddings"),
        "limits": {
            "requests": (
                {
                    "name": "account",
                    "max": 9,
                    "per": 1000,
                    "burst": 9,
                    "scope": "Divided",
                    "by": "Pool",
                    "header": None,
                    "mode": "Enforce",
                },
            ),
            "tokens": (),
            "concurrency": None,
        },
    }
    assert config.pools[0].model_dump(by_alias=True, exclude={"requires", "unresolved"}) == {
        "name": "busy",
        "models": ("gpt-*", "x"),
        "callers": None,
        "strategy": "Weighted",
        "consistentHash": None,
        "targets": (
            {
                "name": "a",
                "provider": "local",
                "model": None,
                "weight": 0,
                "priority": 3,
                "parameters": (),
                "matchHeaders": (),
                "limits": {"requests": (), "tokens": (), "concurrency": None},
            },
            {
                "name": "b",
                "provider": "local",
                "model": None,
                "weight": 9,
                "priority": 0,
                "parameters": (),
                "matchHeaders": (),
                "limits": {"requests": (), "tokens": (), "concurrency": None},
            },
        ),
        "fallback": {
            "outcomes": ("Broken",),
            "statuses": ("429", "5xx"),
            "maxAttempts": 9,
            "sameTarget": {"retries": 0, "initial": 1000, "max": 9000, "maxRetryAfter": 3000},
            "retryBudget": {"percent": 0, "minPerSecond": 0},
            "pools": (),
        },
        "limits": {
            "requests": ({"name": "m", "max": 60, "per": 60000, "burst": 5, "scope": "Sidecar", **tenants},),
            "tokens": (day,),
            "concurrency": {"max": 4, "queue": {"max": 7, "timeout": 3000}, "mode": "Fixed"},
        },
        "total": 30000,
        "lastResort": "Refuse",
        "stateful": {"target": "a"},
        "pinning": "Denied",
        "responseModel": "Requested",
        "streaming": {"commit": "Complete", "keepAlive": 5000, "headHold": 0},
        "recovery": (),
        "hedging": None,
        "cache": {"ttl": 3_600_000, "maxEntries": 7, "maxBytes": 65_536, "temperature": "Any"},
        "parameters": (),
        "poolTargets": (),
    }
    assert result.namespaces["default"].credentials == {"s-k-3de631bf79": "v"}


def test_the_ways_of_a_recovery_keep_their_order() -> None:
    """B26."""
    made = _config(_run(provider(), pool(streaming={"recovery": ["Replay", "Continue"]})))
    assert made.pools[0].recovery == ("Replay", "Continue")


def test_what_an_older_sidecar_must_not_ignore_is_required() -> None:
    asking = [{"name": "X-Tier", "value": "premium"}]
    hashed = {"type": "ConsistentHash", "consistentHash": {"by": "Header", "header": "X-Session"}}
    targets = [_target("a", "openai", match={"headers": asking}), _target("b", "openai")]
    result = _run(provider(auth=keyed()), secret(api_key="k"), pool(targets=targets, strategy=hashed), pool("plain"))
    chosen, plain = _config(result).pools
    assert (chosen.requires, plain.requires) == (("match", "strategies"), ())
    assert chosen.consistent_hash == contract.ConsistentHash(by="Header", header="X-Session")
    assert chosen.targets[0].match_headers == (contract.MatchHeader(name="X-Tier", value="premium"),)
    assert set(chosen.requires) <= contract.FEATURES


def test_a_pool_that_goes_by_prices_is_closed_by_a_sidecar_that_knows_other_strategies_only() -> None:
    """B52: it would not know the word, and must not guess."""
    result = _run(provider(auth=keyed()), secret(api_key="k"), pool(strategy={"type": "LowestCost"}))
    (cheap,) = _config(result).pools
    assert (cheap.strategy, cheap.requires) == ("LowestCost", ("lowest-cost", "strategies"))
    assert set(cheap.requires) <= contract.FEATURES


def test_limits_that_an_older_sidecar_does_not_know_are_required_where_they_stand() -> None:
    minute = {"name": "minute", "max": 9, "per": "1m"}
    limited = provider("limited", limits={"requests": [minute]})
    targets = [_target("a", "openai", limits={"requests": [minute]})]
    result = _run(
        limited,
        provider(auth=keyed()),
        secret(api_key="k"),
        pool("plain", limits={"requests": [minute]}),
        pool("by-header", limits={"requests": [{**minute, "by": "Header", "header": "x-tenant"}]}),
        pool("observing", limits={"requests": [{**minute, "mode": "Observe"}]}),
        pool("targets", targets=targets),
        pool("tokens", limits={"tokens": [minute]}),
        pool("used", targets=[_target("a", "limited")]),
        pool("at-once", limits={"concurrency": {"max": 9}}),
        pool("targets-at-once", targets=[_target("a", "openai", limits={"concurrency": {"max": 9}})]),
        pool("at-busy", targets=[_target("a", "busy")]),
        provider("busy", limits={"concurrency": {"max": 9, "mode": "Adaptive"}}),
    )
    config = _config(result)
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


def test_a_fake_has_its_script_and_no_address() -> None:
    step = {
        "requests": 1,
        "status": 500,
        "error": "e",
        "firstToken": "1s",
        "tokensPerSecond": 5,
        "tokens": 6,
        "fault": "Cut",
    }
    result = _run(provider(dialect="Fake", fake={"script": [step, {"for": "2s"}, {}]}), pool())
    found = _config(result).providers[0]
    assert (found.base_url, found.trace_propagation) == (None, "TraceContext")
    assert found.fake == contract.Fake(
        script=(
            contract.FakeStep(
                requests=1, status=500, error="e", first_token=1000, tokens_per_second=5, tokens=6, fault="Cut"
            ),
            contract.FakeStep(duration=2000),
            contract.FakeStep(),
        )
    )
    assert _config(_run(provider(dialect="Fake"), pool())).providers[0].fake == contract.Fake()


def test_a_sidecar_that_knows_no_parameters_must_not_serve_a_pool_that_has_some() -> None:
    default = {"name": "temperature", "action": "Default", "value": "0.2"}
    remove = {"name": "user", "action": "Remove"}
    here = _config(_run(provider(), pool(parameters=[default, remove]))).pools[0]
    assert here.requires == ("parameters",)
    assert here.parameters == (
        contract.Parameter(name="temperature", action="Default", value="0.2"),
        contract.Parameter(name="user", action="Remove", value=None),
    )
    there = _config(_run(provider(), pool(targets=[_target("a"), {**_target("b"), "parameters": [remove]}]))).pools[0]
    assert (there.requires, there.targets[1].parameters) == (("parameters",), here.parameters[1:])
    assert _config(_run(provider(), pool())).pools[0].requires == ()


def test_a_parameter_that_is_nested_without_end_is_a_sentence_and_no_crash() -> None:
    deep = {"name": "metadata", "action": "Set", "value": "[" * 4096}
    told = [problem.message for problem in _run(provider(), pool(parameters=[deep])).problems]
    assert len(told) == 1
    assert told[0].startswith("parameters[0].value must be JSON, a string in quotes of its own as in ")
    assert told[0].endswith("it is nested too deeply")


@pytest.mark.parametrize(("targets", "attempts"), [(1, 2), (2, 2), (3, 3), (4, 4), (5, 4)])
def test_attempts_follow_the_number_of_targets(targets: int, attempts: int) -> None:
    result = _run(provider(), pool(targets=[_target(f"t{n}") for n in range(targets)]))
    assert _config(result).pools[0].fallback.max_attempts == attempts


@pytest.mark.parametrize(
    ("health", "cooldowns"),
    [
        ({"cooldown": "1m"}, (60_000, 60_000)),
        ({"maxCooldown": "2s"}, (2_000, 2_000)),
        ({"cooldown": "1s"}, (1_000, 30_000)),
        ({"maxCooldown": "1m"}, (5_000, 60_000)),
    ],
)
def test_the_default_of_a_cap_gives_way_to_the_start_that_is_set_and_the_other_way_round(
    health: Raw, cooldowns: tuple[int, int]
) -> None:
    found = _config(_run(provider(health=health), pool())).providers[0].health
    assert (found.cooldown, found.max_cooldown) == cooldowns


@pytest.mark.parametrize(
    ("more", "prefix"),
    [({}, "Bearer "), ({"header": "authorization"}, "Bearer "), ({"header": "api-key"}, ""), ({"prefix": ""}, "")],
)
def test_a_scheme_stands_in_front_of_a_key_in_authorization_only(more: Raw, prefix: str) -> None:
    result = _run(provider(auth=keyed(**more)), pool(), secret(api_key="k"))
    auth = _config(result).providers[0].auth
    assert auth is not None
    assert auth.prefix == prefix


@pytest.mark.parametrize(
    ("url", "propagation"),
    [("https://api.example.com/v1", "None"), ("http://vllm:8000/v1", "TraceContext"), (None, "None")],
)
def test_trace_context_stays_at_home(url: str | None, propagation: str) -> None:
    assert _config(_run(provider(baseURL=url), pool())).providers[0].trace_propagation == propagation


def test_only_providers_in_use_and_their_keys_are_handed_out() -> None:
    result = _run(
        provider(), provider("idle", auth=keyed("idle")), pool(), secret("idle", api_key="k"), secret(api_key="unused")
    )
    assert [found.name for found in _config(result).providers] == ["openai"]
    assert result.namespaces["default"].credentials == {}
    assert result.verdicts["Provider", "default", "idle"].used is False
    assert result.verdicts["Provider", "default", "openai"].used is True


def test_two_providers_with_one_key_share_its_file() -> None:
    result = _run(
        provider("a", auth=keyed()),
        provider("b", auth=keyed()),
        pool(targets=[_target("a", "a"), _target("b", "b")]),
        secret(api_key="k"),
    )
    assert len(result.namespaces["default"].credentials) == 1


def test_a_pool_sees_only_its_own_namespace() -> None:
    result = _run(provider(namespace="team"), pool(), secret(namespace="team", api_key="k"))
    assert list(result.namespaces) == ["default"]
    assert _config(result).closed[0].code == "no_target"


def test_a_namespace_that_is_asked_for_has_a_config_without_pools() -> None:
    result = _run(provider(), namespaces=["empty"])
    assert list(result.namespaces) == ["empty"]
    assert _config(result, "empty").pools == ()


def test_a_target_without_provider_is_left_out_with_its_reason() -> None:
    result = _run(provider(), pool(targets=[_target("a"), _target("b", "opnai"), _target("c", "elsewhere")]))
    [rendered] = _config(result).pools
    assert [target.name for target in rendered.targets] == ["a"]
    assert [(entry.target, entry.reason, entry.message) for entry in rendered.unresolved] == [
        ("b", "ProviderNotFound", "there is no Provider opnai in namespace default; did you mean openai?"),
        ("c", "ProviderNotFound", "there is no Provider elsewhere in namespace default; kubectl get mprov -n default"),
    ]
    assert [(problem.message, problem.reason, problem.condition, problem.document) for problem in result.problems] == [
        (f"targets[{index}].providerRef.name leads nowhere: {entry.message}", "ProviderNotFound", "ResolvedRefs", 1)
        for index, entry in enumerate(rendered.unresolved, 1)
    ]
    verdict = result.verdicts["ModelPool", "default", "chat"]
    assert (verdict.accepted, verdict.resolved, verdict.form) == (True, False, Form.CURRENT)


def test_a_pool_without_any_target_stays_published_and_says_why() -> None:
    result = _run(pool(models=[{"name": "m"}]))
    [closed] = _config(result).closed
    assert (closed.name, closed.models, closed.code) == ("chat", ("m",), "no_target")
    assert closed.message == (
        "no target can be used: mini: there is no Provider openai in namespace default; kubectl get mprov -n default"
    )


def test_targets_that_fail_for_one_reason_are_named_together() -> None:
    result = _run(pool(targets=[_target("a", "x"), _target("b", "y"), _target("c", "x")]))
    assert _config(result).closed[0].message == (
        "no target can be used: "
        "a, c: there is no Provider x in namespace default; kubectl get mprov -n default; "
        "b: there is no Provider y in namespace default; kubectl get mprov -n default"
    )


def test_a_target_whose_provider_was_never_accepted_says_what_is_wrong_there() -> None:
    result = _run(provider(traffic="Slow"), pool())
    [closed] = _config(result).closed
    assert closed.message.endswith(
        'mini: Provider openai was not accepted: traffic must be one of Normal, Drained, not "Slow"'
    )
    assert result.verdicts["ModelPool", "default", "chat"].unresolved[0].reason == "InvalidSpec"
    assert [problem.kind for problem in result.problems] == ["Provider"]


def test_a_missing_secret_leaves_its_targets_out() -> None:
    result = _run(provider(auth=keyed()), provider("open"), pool(targets=[_target("a"), _target("b", "open")]))
    [rendered] = _config(result).pools
    assert [(entry.target, entry.reason) for entry in rendered.unresolved] == [("a", "SecretNotFound")]
    [problem] = result.problems
    assert (problem.kind, problem.reason, problem.condition) == ("Provider", "SecretNotFound", "ResolvedRefs")
    assert problem.message == (
        'auth.apiKey.secretRef names the Secret "openai", which is not in namespace default; kubectl create secret '
        "generic openai -n default --from-literal=api-key=YOUR_KEY"
    )
    assert rendered.unresolved[0].message == f"Provider openai: {problem.message}"
    assert result.verdicts["Provider", "default", "openai"].resolved is False


def test_a_secret_that_goes_missing_keeps_the_last_copied_value_and_the_condition() -> None:
    manifests = (provider(auth=keyed()), pool())
    first = _run(*manifests, secret(api_key="k"))
    second = _run(*manifests, last=first)
    assert second.namespaces == first.namespaces
    assert [problem.reason for problem in second.problems] == ["SecretNotFound"]
    assert second.verdicts["ModelPool", "default", "chat"].resolved is True


def test_a_value_that_cannot_be_sent_keeps_the_last_one_too() -> None:
    manifests = (provider(auth=keyed()), pool())
    first = _run(*manifests, secret(api_key="k"))
    second = _run(*manifests, secret(api_key="k\nk"), last=first)
    assert second.namespaces == first.namespaces
    assert [problem.reason for problem in second.problems] == ["InvalidCredential"]


def test_a_new_value_is_taken_at_once() -> None:
    manifests = (provider(auth=keyed()), pool())
    second = _run(*manifests, secret(api_key="new"), last=_run(*manifests, secret(api_key="old")))
    assert list(second.namespaces["default"].credentials.values()) == ["new"]


@pytest.mark.parametrize(
    "edit",
    [
        pool(targets=[_target("mini", weight=-5)]),
        pool(targets=[_target("mini", weight=0)]),
        {**pool(), "apiVersion": "modelpool.dev/v2"},
        resource("ModelPool", "chat", None),
    ],
)
def test_a_refused_edit_leaves_the_last_accepted_form_in_force(edit: Raw) -> None:
    first = _run(provider(), pool())
    second = _run(provider(), edit, last=first)
    assert second.namespaces == first.namespaces
    assert second.accepted == first.accepted
    verdict = second.verdicts["ModelPool", "default", "chat"]
    assert (verdict.accepted, verdict.form) == (False, Form.LAST_GOOD)
    assert _run(provider(), edit, last=second).namespaces == first.namespaces


def test_a_refused_edit_of_a_provider_leaves_its_last_form_and_lets_others_take_theirs() -> None:
    first = _run(provider(), pool())
    second = _run(provider(baseURL="nowhere"), pool(pinning="Denied"), last=first)
    config = _config(second)
    assert config.providers == _config(first).providers
    assert config.pools[0].pinning == "Denied"
    assert second.verdicts["Provider", "default", "openai"].form is Form.LAST_GOOD


def test_a_mended_edit_is_taken() -> None:
    first = _run(provider(), pool())
    broken = _run(provider(), pool(pinning="No"), last=first)
    mended = _run(provider(), pool(pinning="Denied"), last=broken)
    assert _config(mended).pools[0].pinning == "Denied"
    assert mended.problems == ()


def test_deleting_acts_at_once_and_forgets_the_last_accepted_form() -> None:
    first = _run(provider(), pool())
    without = _run(pool(), last=first)
    assert _config(without).closed[0].code == "no_target"
    assert _run(provider(), last=first).namespaces == {}
    again = _run(provider(traffic="Slow"), pool(), last=without)
    assert again.verdicts["Provider", "default", "openai"].form is Form.NONE


def test_a_pool_that_was_never_accepted_is_closed_under_the_names_that_can_be_read() -> None:
    bad = pool(models=[{"name": "a"}, {"name": "b c"}, "d", {"name": "x*y"}, {"name": "a"}], pinning="No")
    [closed] = _config(_run(provider(), bad)).closed
    assert (closed.code, closed.models) == ("invalid_pool", ("a",))
    assert closed.message == (
        "it was not accepted: models[1].name must be a model name without spaces or control characters, "
        'not "b c" (and 2 more)'
    )


@pytest.mark.parametrize("bad", [pool(), pool(pinning="No")])
def test_a_closed_pool_leaves_its_name_to_the_sidecar_which_puts_it_in_front(bad: dict[str, Any]) -> None:
    [closed] = _config(_run(bad)).closed
    assert "chat" not in closed.message


@pytest.mark.parametrize("models", [None, [], "chat"])
def test_without_names_that_can_be_read_it_is_closed_under_its_own(models: object) -> None:
    [closed] = _config(_run(pool(models=models, pinning="No"))).closed
    assert closed.models == ("chat",)


def test_a_pool_that_fails_a_check_is_closed_under_the_names_it_claims() -> None:
    bad = pool(models=[{"name": "m"}], targets=[_target("a", weight=0)])
    [closed] = _config(_run(provider(), bad)).closed
    assert (closed.code, closed.models) == ("invalid_pool", ("m",))


def test_an_object_without_a_usable_name_is_told_and_left_out() -> None:
    result = _run(resource("ModelPool", "Not_A_Name", {}), {**pool(), "metadata": None}, provider(), pool())
    assert list(result.verdicts) == [("ModelPool", "default", "chat"), ("Provider", "default", "openai")]
    assert {problem.document for problem in result.problems} == {0, 1}


def test_the_older_pool_keeps_a_model_name_and_the_other_keeps_its_other_names() -> None:
    young = pool("a-young", models=[{"name": "m"}, {"name": "n"}])
    young["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z"
    old = pool("old", models=[{"name": "m"}])
    old["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    result = _run(provider(), young, old)
    assert {found.name: found.models for found in _config(result).pools} == {"a-young": ("n",), "old": ("m",)}
    [problem] = result.problems
    assert (problem.reason, problem.name, problem.document) == ("ModelNameConflict", "a-young", 1)
    assert problem.message == (
        'models[0].name claims the model name "m", which belongs to ModelPool old: that one is older'
    )
    verdict = result.verdicts["ModelPool", "default", "a-young"]
    assert (verdict.accepted, verdict.form) == (False, Form.CURRENT)


def test_without_ages_the_first_by_name_keeps_a_model_name() -> None:
    result = _run(provider(), pool("b"), pool("a", models=[{"name": "b"}]))
    assert {found.name: found.models for found in _config(result).pools} == {"a": ("b",), "b": ()}
    assert result.problems[0].message == (
        'metadata.name claims the model name "b", which belongs to ModelPool a: that one comes first by name'
    )


def test_a_pool_that_was_never_accepted_takes_no_name_from_one_that_was() -> None:
    bad = pool("a", models=[{"name": "chat"}, {"name": "x"}], pinning="No")
    worse = pool("b", models=[{"name": "x"}, {"name": "y"}], pinning="No")
    config = _config(_run(provider(), bad, worse, pool()))
    assert config.pools[0].models == ("chat",)
    assert [closed.models for closed in config.closed] == [("x",), ("y",)]


def test_everything_is_sorted_by_name() -> None:
    config = _config(
        _run(
            provider("z"),
            provider("y"),
            pool("q", targets=[_target("t", "z")]),
            pool("p", targets=[_target("t", "y")]),
            pool("d", targets=[_target("t", "none")]),
            pool("c", pinning="No"),
        )
    )
    assert [found.name for found in config.providers] == ["y", "z"]
    assert [found.name for found in config.pools] == ["p", "q"]
    assert [found.name for found in config.closed] == ["c", "d"]


def test_no_key_stands_in_a_repr() -> None:
    result = _run(provider(auth=keyed()), pool(), secret(api_key="sk-secret"))
    assert "sk-secret" not in repr(result)
    assert "sk-secret" not in repr(observe([secret(api_key="sk-secret")]))
