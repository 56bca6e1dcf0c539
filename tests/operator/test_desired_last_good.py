"""What is missing or refused is left out, closed or kept in its last good form, each with its reason."""

from typing import Any

import pytest

from desired_support import Raw, a_written_target, config_of, run
from manifest_cases import keyed, pool, provider, resource, secret
from modelpool_operator.forms import Form


def test_a_target_without_provider_is_left_out_with_its_reason() -> None:
    result = run(
        provider(),
        pool(targets=[a_written_target("a"), a_written_target("b", "opnai"), a_written_target("c", "elsewhere")]),
    )
    [rendered] = config_of(result).pools
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
    result = run(pool(models=[{"name": "m"}]))
    [closed] = config_of(result).closed
    assert (closed.name, closed.models, closed.code) == ("chat", ("m",), "no_target")
    assert closed.message == (
        "no target can be used: mini: there is no Provider openai in namespace default; kubectl get mprov -n default"
    )


def test_targets_that_fail_for_one_reason_are_named_together() -> None:
    result = run(pool(targets=[a_written_target("a", "x"), a_written_target("b", "y"), a_written_target("c", "x")]))
    assert config_of(result).closed[0].message == (
        "no target can be used: "
        "a, c: there is no Provider x in namespace default; kubectl get mprov -n default; "
        "b: there is no Provider y in namespace default; kubectl get mprov -n default"
    )


def test_a_target_whose_provider_was_never_accepted_says_what_is_wrong_there() -> None:
    result = run(provider(traffic="Slow"), pool())
    [closed] = config_of(result).closed
    assert closed.message.endswith(
        'mini: Provider openai was not accepted: traffic must be one of Normal, Drained, not "Slow"'
    )
    assert result.verdicts["ModelPool", "default", "chat"].unresolved[0].reason == "InvalidSpec"
    assert [problem.kind for problem in result.problems] == ["Provider"]


def test_a_missing_secret_leaves_its_targets_out() -> None:
    result = run(
        provider(auth=keyed()), provider("open"), pool(targets=[a_written_target("a"), a_written_target("b", "open")])
    )
    [rendered] = config_of(result).pools
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
    first = run(*manifests, secret(api_key="k"))
    second = run(*manifests, last=first)
    assert second.namespaces == first.namespaces
    assert [problem.reason for problem in second.problems] == ["SecretNotFound"]
    assert second.verdicts["ModelPool", "default", "chat"].resolved is True


def test_a_value_that_cannot_be_sent_keeps_the_last_one_too() -> None:
    manifests = (provider(auth=keyed()), pool())
    first = run(*manifests, secret(api_key="k"))
    second = run(*manifests, secret(api_key="k\nk"), last=first)
    assert second.namespaces == first.namespaces
    assert [problem.reason for problem in second.problems] == ["InvalidCredential"]


def test_a_new_value_is_taken_at_once() -> None:
    manifests = (provider(auth=keyed()), pool())
    second = run(*manifests, secret(api_key="new"), last=run(*manifests, secret(api_key="old")))
    assert list(second.namespaces["default"].credentials.values()) == ["new"]


@pytest.mark.parametrize(
    "edit",
    [
        pool(targets=[a_written_target("mini", weight=-5)]),
        pool(targets=[a_written_target("mini", weight=0)]),
        {**pool(), "apiVersion": "modelpool.dev/v2"},
        resource("ModelPool", "chat", None),
    ],
)
def test_a_refused_edit_leaves_the_last_accepted_form_in_force(edit: Raw) -> None:
    first = run(provider(), pool())
    second = run(provider(), edit, last=first)
    assert second.namespaces == first.namespaces
    assert second.accepted == first.accepted
    verdict = second.verdicts["ModelPool", "default", "chat"]
    assert (verdict.accepted, verdict.form) == (False, Form.LAST_GOOD)
    assert run(provider(), edit, last=second).namespaces == first.namespaces


def test_a_refused_edit_of_a_provider_leaves_its_last_form_and_lets_others_take_theirs() -> None:
    first = run(provider(), pool())
    second = run(provider(baseURL="nowhere"), pool(pinning="Denied"), last=first)
    config = config_of(second)
    assert config.providers == config_of(first).providers
    assert config.pools[0].pinning == "Denied"
    assert second.verdicts["Provider", "default", "openai"].form is Form.LAST_GOOD


def test_a_mended_edit_is_taken() -> None:
    first = run(provider(), pool())
    broken = run(provider(), pool(pinning="No"), last=first)
    mended = run(provider(), pool(pinning="Denied"), last=broken)
    assert config_of(mended).pools[0].pinning == "Denied"
    assert mended.problems == ()


def test_deleting_acts_at_once_and_forgets_the_last_accepted_form() -> None:
    first = run(provider(), pool())
    without = run(pool(), last=first)
    assert config_of(without).closed[0].code == "no_target"
    assert run(provider(), last=first).namespaces == {}
    again = run(provider(traffic="Slow"), pool(), last=without)
    assert again.verdicts["Provider", "default", "openai"].form is Form.NONE


def test_a_pool_that_was_never_accepted_is_closed_under_the_names_that_can_be_read() -> None:
    bad = pool(models=[{"name": "a"}, {"name": "b c"}, "d", {"name": "x*y"}, {"name": "a"}], pinning="No")
    [closed] = config_of(run(provider(), bad)).closed
    assert (closed.code, closed.models) == ("invalid_pool", ("a",))
    assert closed.message == (
        "it was not accepted: models[1].name must be a model name without spaces or control characters, "
        'not "b c" (and 2 more)'
    )


@pytest.mark.parametrize("bad", [pool(), pool(pinning="No")])
def test_a_closed_pool_leaves_its_name_to_the_sidecar_which_puts_it_in_front(bad: dict[str, Any]) -> None:
    [closed] = config_of(run(bad)).closed
    assert "chat" not in closed.message


@pytest.mark.parametrize("models", [None, [], "chat"])
def test_without_names_that_can_be_read_it_is_closed_under_its_own(models: object) -> None:
    [closed] = config_of(run(pool(models=models, pinning="No"))).closed
    assert closed.models == ("chat",)


def test_a_pool_that_fails_a_check_is_closed_under_the_names_it_claims() -> None:
    bad = pool(models=[{"name": "m"}], targets=[a_written_target("a", weight=0)])
    [closed] = config_of(run(provider(), bad)).closed
    assert (closed.code, closed.models) == ("invalid_pool", ("m",))


def test_an_object_without_a_usable_name_is_told_and_left_out() -> None:
    result = run(resource("ModelPool", "Not_A_Name", {}), {**pool(), "metadata": None}, provider(), pool())
    assert list(result.verdicts) == [("ModelPool", "default", "chat"), ("Provider", "default", "openai")]
    assert {problem.document for problem in result.problems} == {0, 1}


def test_the_older_pool_keeps_a_model_name_and_the_other_keeps_its_other_names() -> None:
    young = pool("a-young", models=[{"name": "m"}, {"name": "n"}])
    young["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z"
    old = pool("old", models=[{"name": "m"}])
    old["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    result = run(provider(), young, old)
    assert {found.name: found.models for found in config_of(result).pools} == {"a-young": ("n",), "old": ("m",)}
    [problem] = result.problems
    assert (problem.reason, problem.name, problem.document) == ("ModelNameConflict", "a-young", 1)
    assert problem.message == (
        'models[0].name claims the model name "m", which belongs to ModelPool old: that one is older'
    )
    verdict = result.verdicts["ModelPool", "default", "a-young"]
    assert (verdict.accepted, verdict.form) == (False, Form.CURRENT)


def test_without_ages_the_first_by_name_keeps_a_model_name() -> None:
    result = run(provider(), pool("b"), pool("a", models=[{"name": "b"}]))
    assert {found.name: found.models for found in config_of(result).pools} == {"a": ("b",), "b": ()}
    assert result.problems[0].message == (
        'metadata.name claims the model name "b", which belongs to ModelPool a: that one comes first by name'
    )


def test_a_pool_that_was_never_accepted_takes_no_name_from_one_that_was() -> None:
    bad = pool("a", models=[{"name": "chat"}, {"name": "x"}], pinning="No")
    worse = pool("b", models=[{"name": "x"}, {"name": "y"}], pinning="No")
    config = config_of(run(provider(), bad, worse, pool()))
    assert config.pools[0].models == ("chat",)
    assert [closed.models for closed in config.closed] == [("x",), ("y",)]
