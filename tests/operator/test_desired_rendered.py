"""How Providers, keys and pools are written into the config of their namespace, and which of them."""

import pytest

from desired_support import Raw, a_written_target, config_of, run
from manifest_cases import keyed, pool, provider, secret
from modelpool_config import models as contract
from modelpool_operator.resources import observe


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
    result = run(provider(dialect="Fake", fake={"script": [step, {"for": "2s"}, {}]}), pool())
    found = config_of(result).providers[0]
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
    assert config_of(run(provider(dialect="Fake"), pool())).providers[0].fake == contract.Fake()


def test_a_parameter_that_is_nested_without_end_is_a_sentence_and_no_crash() -> None:
    deep = {"name": "metadata", "action": "Set", "value": "[" * 4096}
    told = [problem.message for problem in run(provider(), pool(parameters=[deep])).problems]
    assert len(told) == 1
    assert told[0].startswith("parameters[0].value must be JSON, a string in quotes of its own as in ")
    assert told[0].endswith("it is nested too deeply")


@pytest.mark.parametrize(("targets", "attempts"), [(1, 2), (2, 2), (3, 3), (4, 4), (5, 4)])
def test_attempts_follow_the_number_of_targets(targets: int, attempts: int) -> None:
    result = run(provider(), pool(targets=[a_written_target(f"t{n}") for n in range(targets)]))
    assert config_of(result).pools[0].fallback.max_attempts == attempts


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
    found = config_of(run(provider(health=health), pool())).providers[0].health
    assert (found.cooldown, found.max_cooldown) == cooldowns


@pytest.mark.parametrize(
    ("more", "prefix"),
    [({}, "Bearer "), ({"header": "authorization"}, "Bearer "), ({"header": "api-key"}, ""), ({"prefix": ""}, "")],
)
def test_a_scheme_stands_in_front_of_a_key_in_authorization_only(more: Raw, prefix: str) -> None:
    result = run(provider(auth=keyed(**more)), pool(), secret(api_key="k"))
    auth = config_of(result).providers[0].auth
    assert auth is not None
    assert auth.prefix == prefix


@pytest.mark.parametrize(
    ("url", "propagation"),
    [("https://api.example.com/v1", "None"), ("http://vllm:8000/v1", "TraceContext"), (None, "None")],
)
def test_trace_context_stays_at_home(url: str | None, propagation: str) -> None:
    assert config_of(run(provider(baseURL=url), pool())).providers[0].trace_propagation == propagation


def test_only_providers_in_use_and_their_keys_are_handed_out() -> None:
    result = run(
        provider(), provider("idle", auth=keyed("idle")), pool(), secret("idle", api_key="k"), secret(api_key="unused")
    )
    assert [found.name for found in config_of(result).providers] == ["openai"]
    assert result.namespaces["default"].credentials == {}
    assert result.verdicts["Provider", "default", "idle"].used is False
    assert result.verdicts["Provider", "default", "openai"].used is True


def test_two_providers_with_one_key_share_its_file() -> None:
    result = run(
        provider("a", auth=keyed()),
        provider("b", auth=keyed()),
        pool(targets=[a_written_target("a", "a"), a_written_target("b", "b")]),
        secret(api_key="k"),
    )
    assert len(result.namespaces["default"].credentials) == 1


def test_a_pool_sees_only_its_own_namespace() -> None:
    result = run(provider(namespace="team"), pool(), secret(namespace="team", api_key="k"))
    assert list(result.namespaces) == ["default"]
    assert config_of(result).closed[0].code == "no_target"


def test_a_namespace_that_is_asked_for_has_a_config_without_pools() -> None:
    result = run(provider(), namespaces=["empty"])
    assert list(result.namespaces) == ["empty"]
    assert config_of(result, "empty").pools == ()


def test_everything_is_sorted_by_name() -> None:
    config = config_of(
        run(
            provider("z"),
            provider("y"),
            pool("q", targets=[a_written_target("t", "z")]),
            pool("p", targets=[a_written_target("t", "y")]),
            pool("d", targets=[a_written_target("t", "none")]),
            pool("c", pinning="No"),
        )
    )
    assert [found.name for found in config.providers] == ["y", "z"]
    assert [found.name for found in config.pools] == ["p", "q"]
    assert [found.name for found in config.closed] == ["c", "d"]


def test_no_key_stands_in_a_repr() -> None:
    result = run(provider(auth=keyed()), pool(), secret(api_key="sk-secret"))
    assert "sk-secret" not in repr(result)
    assert "sk-secret" not in repr(observe([secret(api_key="sk-secret")]))
