"""One namespace from manifests to bytes and to the status of each object."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from manifest_cases import keyed, pool, provider, secret
from modelpool_config import codec
from modelpool_operator import compiling, conditions
from modelpool_operator.api.status import ModelPoolStatus, ProviderStatus
from modelpool_operator.compiling import Present
from modelpool_operator.conditions import Publication, Said
from modelpool_operator.problems import Key
from modelpool_operator.resources import observe
from resource_strategies import worlds
from status_cases import NAMESPACE, NOW, POOL, PROVIDER, World, world

Raw = dict[str, Any]
STATUSES = {"Provider": ProviderStatus, "ModelPool": ModelPoolStatus}
"""The models that the schema is made of."""
SHOUTS = ("SHOUT-1", "SHOUT-2")
"""Values of credentials: nothing that people read may ever hold one."""


def _target(name: str, at: str = "openai", **more: Any) -> Raw:
    return {"name": name, "providerRef": {"name": at}, **more}


def _well() -> World:
    return world(provider(auth=keyed()), pool(), secret(api_key=SHOUTS[0]))


def _edited(*manifests: Raw) -> World:
    return world(*manifests, last=_well())


def _young(manifest: Raw) -> Raw:
    return {**manifest, "metadata": {**manifest["metadata"], "creationTimestamp": "2026-11-26T11:00:00Z"}}


def _old(manifest: Raw) -> Raw:
    return {**manifest, "metadata": {**manifest["metadata"], "creationTimestamp": "2026-01-01T00:00:00Z"}}


def _with_times(fields: Raw) -> Raw:
    return {key: datetime.fromisoformat(value) if key.endswith("Time") else value for key, value in fields.items()}


REASONS: dict[str, tuple[str, str, Callable[[], World], Key, str]] = {
    "InvalidSpec": (
        "Accepted",
        "False",
        lambda: world(provider(), pool(targets=[_target("a", weight=-5)])),
        POOL,
        "targets[0].weight must be between 0 and 1000000, not -5",
    ),
    "InvalidSpec of a Provider": (
        "Accepted",
        "False",
        lambda: world(provider(baseURL="ftp://x.example")),
        PROVIDER,
        "baseURL must",
    ),
    "LastGood": (
        "Programmed",
        "True",
        lambda: _edited(provider(auth=keyed()), pool(strategy={"type": "Fastest"}), secret(api_key=SHOUTS[0])),
        POOL,
        "the last accepted form runs on; mend the edit",
    ),
    "LastGood of a Provider": (
        "Programmed",
        "True",
        lambda: _edited(provider(dialect="Nothing"), pool(), secret(api_key=SHOUTS[0])),
        PROVIDER,
        "the last accepted form runs on; mend the edit",
    ),
    "ModelNameConflict": (
        "Accepted",
        "False",
        lambda: world(
            provider(),
            _old(pool("winner", models=[{"name": "x"}])),
            _young(pool(models=[{"name": "x"}, {"name": "y"}])),
        ),
        POOL,
        "belongs to ModelPool winner: that one is older",
    ),
    "ProviderNotFound": (
        "ResolvedRefs",
        "False",
        lambda: world(pool()),
        POOL,
        "kubectl get mprov -n default",
    ),
    "SecretNotFound": (
        "ResolvedRefs",
        "False",
        lambda: world(provider(auth=keyed()), pool()),
        PROVIDER,
        "kubectl create secret generic openai -n default --from-literal=api-key=YOUR_KEY",
    ),
    "SecretNotFound of a key": (
        "ResolvedRefs",
        "False",
        lambda: world(provider(auth=keyed()), pool(), secret(api_kee=SHOUTS[0])),
        POOL,
        "did you mean api-kee?",
    ),
    "InvalidCredential": (
        "ResolvedRefs",
        "False",
        lambda: world(provider(auth=keyed()), pool(), secret(api_key=f"{SHOUTS[0]}\r\n{SHOUTS[1]}")),
        POOL,
        "kubectl edit secret openai -n default",
    ),
    "CredentialPending": (
        "Ready",
        "Unknown",
        lambda: world(provider(auth=keyed()), pool(), unreadable={("default", "openai"): "it did not answer in time"}),
        POOL,
        "could not be read yet: it did not answer in time",
    ),
    "CredentialPending of a Provider": (
        "Ready",
        "Unknown",
        lambda: world(provider(auth=keyed()), pool(), unreadable={("default", "openai"): "it did not answer in time"}),
        PROVIDER,
        "could not be read yet: it did not answer in time",
    ),
    "Degraded": (
        "Ready",
        "True",
        lambda: world(provider(), pool(targets=[_target("a"), _target("b", "gone")])),
        POOL,
        "1 of 2 targets can be asked: ",
    ),
    "Manual": (
        "Ready",
        "True",
        lambda: world(provider(traffic="Drained"), pool()),
        POOL,
        "1 of 1 target can be asked; traffic is Drained by hand at Provider openai",
    ),
    "Manual of a Provider": (
        "Ready",
        "True",
        lambda: world(provider(traffic="Drained"), pool()),
        PROVIDER,
        "traffic is Drained by hand",
    ),
    "Unused": (
        "Programmed",
        "True",
        lambda: world(provider()),
        PROVIDER,
        "no pool that can run sends requests to it",
    ),
    "ConfigTooLarge": (
        "Programmed",
        "False",
        lambda: world(provider(), pool(), blocked=Said("False", "ConfigTooLarge", "split the namespace")),
        POOL,
        "split the namespace",
    ),
    "NameConflict": (
        "Programmed",
        "False",
        lambda: world(provider(), pool(), blocked=Said("False", "NameConflict", "remove it")),
        POOL,
        "remove it",
    ),
    "Pending": (
        "Programmed",
        "Unknown",
        lambda: world(provider(), pool()).with_publication(Publication({"chat": "sha256:another"}, NOW)),
        POOL,
        "its config is not written yet",
    ),
}


@pytest.mark.parametrize(("kind", "status", "make", "key", "says"), REASONS.values(), ids=REASONS.keys())
def test_every_reason_is_said_where_it_holds(
    kind: str, status: str, make: Callable[[], World], key: Key, says: str, request: pytest.FixtureRequest
) -> None:
    reason = request.node.callspec.id.partition(" ")[0]
    found = make().said(kind, key)
    assert found[:2] == (status, reason)
    assert says in found[2]


@pytest.mark.parametrize(("kind", "status", "make", "key", "says"), REASONS.values(), ids=REASONS.keys())
def test_every_status_passes_the_schema_and_holds_no_credential(
    kind: str, status: str, make: Callable[[], World], key: Key, says: str
) -> None:
    made = make()
    for each in made.compiled.result.verdicts:
        said = made.status(each)
        STATUSES[each[0]].model_validate(json.loads(json.dumps(said), object_hook=_with_times))
        assert not [shout for shout in SHOUTS if shout in repr(said)]
    assert not [shout for shout in SHOUTS if shout in repr(made.compiled)]
    assert not [shout for shout in SHOUTS if shout in (made.compiled.config or b"").decode()]


def test_a_namespace_that_is_well_says_so_everywhere() -> None:
    well = _well()
    for key in (PROVIDER, POOL):
        status = well.status(key)
        assert [each["status"] for each in status["conditions"]] == ["True"] * 4
        assert [each["reason"] for each in status["conditions"]] == ["Accepted", "ResolvedRefs", "Programmed", "Ready"]
    assert well.status()["targetsResolved"] == "1/1"
    assert well.status()["config"]["digest"] == well.compiled.digests["chat"]


def test_a_pool_none_of_whose_targets_can_be_asked_is_not_ready_and_says_why() -> None:
    status, reason, message = world(provider(auth=keyed()), pool()).said("Ready")
    assert (status, reason) == ("False", "SecretNotFound")
    assert message.startswith("0 of 1 target can be asked: ")


def test_a_pool_that_was_never_accepted_answers_503_and_says_so() -> None:
    made = world(provider(), pool(targets=[_target("a", weight=-5)]))
    assert made.said("Programmed") == (
        "False",
        "InvalidSpec",
        "it was never accepted: its model names answer 503 invalid_pool",
    )
    assert made.said("ResolvedRefs")[:2] == ("Unknown", "Pending")
    assert made.said("Ready")[:2] == ("False", "InvalidSpec")
    assert "targets" not in made.status()


def test_a_provider_that_was_never_accepted_is_not_programmed() -> None:
    made = world(provider(dialect="Nothing"), pool())
    assert made.said("Programmed", PROVIDER)[:2] == ("False", "InvalidSpec")
    assert made.said("Ready", PROVIDER)[:2] == ("False", "InvalidSpec")


def test_a_missing_secret_leaves_the_last_copied_value_in_force_and_the_pool_degraded() -> None:
    made = _edited(provider(auth=keyed()), pool())
    assert made.compiled.credentials == _well().compiled.credentials
    assert made.said("ResolvedRefs", PROVIDER)[:2] == ("False", "SecretNotFound")
    assert made.said("Ready")[:2] == ("True", "Degraded")
    assert made.said("Ready")[2].endswith("; the last copied value stays in force")
    assert made.status()["targets"] == [{"name": "mini", "state": "Resolved"}]


def test_an_edit_of_a_provider_that_is_refused_shows_on_its_pool() -> None:
    made = _edited(provider(dialect="Nothing"), pool(), secret(api_key=SHOUTS[0]))
    assert made.said("Ready")[:2] == ("True", "Degraded")
    assert made.said("ResolvedRefs")[2].endswith("; the last accepted form stays in force")


def test_nothing_is_said_to_stay_in_force_where_there_is_nothing() -> None:
    """A Provider with two faults that was never accepted, and one that names two Secrets that are not there."""
    twice = world(provider(dialect="Nothing", traffic="Sometimes"), pool())
    headers = [{"name": "x-team", "secretRef": {"name": "other", "key": "team"}}]
    unkeyed = world(provider(auth=keyed(), headers=headers), pool())
    for made in (twice, unkeyed):
        assert made.said("Ready")[0] == "False"
        assert "in force" not in repr(made.status())


def test_what_is_wrong_for_good_comes_before_what_is_on_its_way() -> None:
    headers = [{"name": "x-team", "secretRef": {"name": "other", "key": "team"}}]
    pending = {("default", "openai"): "the API server is asleep"}
    made = world(provider(auth=keyed(), headers=headers), pool(), unreadable=pending)
    assert made.said("ResolvedRefs", PROVIDER)[:2] == ("False", "SecretNotFound")
    assert "asleep" in made.said("ResolvedRefs", PROVIDER)[2]


def test_a_foreign_object_in_the_way_shows_on_the_provider_too_if_a_pool_uses_it() -> None:
    blocked = Said("False", "NameConflict", "remove it")
    assert world(provider(), pool(), blocked=blocked).said("Programmed", PROVIDER) == (
        "False",
        "NameConflict",
        "remove it",
    )
    assert world(provider(), blocked=blocked).said("Programmed", PROVIDER)[:2] == ("True", "Unused")


def test_a_pool_whose_section_stands_there_is_programmed_though_another_could_not_be_written() -> None:
    made = world(provider(), pool(), pool("code"))
    blocked = Said("False", "ConfigTooLarge", "split the namespace")
    half = made.with_publication(Publication({"chat": made.compiled.digests["chat"]}, NOW, blocked))
    assert half.said("Programmed")[:2] == ("True", "Programmed")
    assert half.said("Programmed", ("ModelPool", NAMESPACE, "code"))[:2] == ("False", "ConfigTooLarge")


def test_a_config_that_is_nearly_too_large_says_so_before_it_is() -> None:
    made = world(provider(), pool())
    crowded = made.with_publication(Publication(made.compiled.digests, NOW, crowded=True))
    assert crowded.said("Programmed")[0] == "True"
    assert crowded.said("Programmed")[2].endswith("split the namespace")


def test_the_digest_of_a_pool_moves_with_what_its_provider_does_and_with_nothing_else() -> None:
    before = world(provider(), provider("other"), pool(), pool("code", targets=[_target("a", "other")]))
    after = world(
        provider(timeouts={"connect": "1s"}), provider("other"), pool(), pool("code", targets=[_target("a", "other")])
    )
    assert before.compiled.digests["chat"] != after.compiled.digests["chat"]
    assert before.compiled.digests["code"] == after.compiled.digests["code"]


def test_the_time_of_a_digest_stays_until_the_digest_moves() -> None:
    made = world(provider(), pool())
    first = made.status()
    assert first["config"]["writtenTime"] == "2026-11-26T12:00:00Z"
    later = made.with_publication(Publication(made.compiled.digests, NOW + timedelta(hours=1)))
    assert later.status(present=first)["config"] == first["config"]
    other = {**first, "config": {**first["config"], "digest": "sha256:before"}}
    assert later.status(present=other)["config"]["writtenTime"] == "2026-11-26T13:00:00Z"


def test_what_stands_there_is_told_until_something_else_does() -> None:
    made = world(provider(), pool())
    before = {"config": {"digest": "sha256:before", "writtenTime": "2026-01-01T00:00:00Z"}}
    waiting = made.with_publication(Publication({"chat": "sha256:before"}, NOW))
    assert waiting.status(present=before)["config"] == before["config"]
    assert "config" not in waiting.status()


def test_a_namespace_without_pools_that_nobody_asked_for_gets_no_config() -> None:
    made = compiling.compile_namespace(NAMESPACE, observe([provider()]), {}, {})
    assert (made.config, made.credentials, made.digests) == (None, {}, {})


def test_a_namespace_that_wants_one_gets_an_empty_config() -> None:
    made = compiling.compile_namespace(NAMESPACE, observe([], namespaces=[NAMESPACE]), {}, {})
    assert made.config is not None
    assert codec.decode(made.config).pools == ()


def test_a_closed_pool_has_a_digest_too() -> None:
    assert world(pool()).compiled.digests["chat"].startswith("sha256:")


def test_the_digests_of_a_config_are_read_back_from_its_bytes() -> None:
    compiled = _well().compiled
    assert compiled.config is not None
    assert compiling.digests_of(compiled.config) == dict(compiled.digests)
    assert compiling.digests_of(codec.compress(compiled.config)) == dict(compiled.digests)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b"\x1f\x8bjunk",
        b"[" * 100_000,
        b'{"a":' * 500 + b"1" + b"}" * 500,
    ],
)
def test_a_config_that_somebody_spoiled_has_no_digests(junk: bytes) -> None:
    assert compiling.digests_of(junk) == {}
    assert compiling.digests_of(None) == {}


def _presents(made: World, **status: Raw) -> dict[Key, Present]:
    return {key: Present(1, status.get(key[2], made.status(key))) for key in made.compiled.result.verdicts}


def test_only_an_object_whose_words_differ_is_named_as_different() -> None:
    made = _well()
    publication = Publication(made.compiled.digests, NOW)
    assert compiling.different(made.compiled, publication, _presents(made), NOW + timedelta(days=1)) == set()
    assert compiling.different(made.compiled, publication, _presents(made, chat={}), NOW) == {POOL}


def test_an_object_that_was_not_judged_is_not_named_as_different() -> None:
    made = _well()
    gone = {("ModelPool", NAMESPACE, "gone"): Present(1, {})}
    assert compiling.different(made.compiled, Publication({}), gone, NOW) == set()


def test_a_new_generation_is_a_difference_though_nothing_else_moved() -> None:
    made = _well()
    presents = {key: replace(each, generation=2) for key, each in _presents(made).items()}
    publication = Publication(made.compiled.digests, NOW)
    assert compiling.different(made.compiled, publication, presents, NOW) == {POOL, PROVIDER}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds)
def test_whatever_is_in_a_namespace_every_object_gets_a_status_that_then_stays(manifests: list[Raw]) -> None:
    made = world(*manifests)
    publication = Publication(made.compiled.digests, NOW)
    presents = _presents(made)
    written = {each["metadata"]["name"]: each["spec"] for each in reversed(manifests) if each["kind"] == "ModelPool"}

    def is_open(name: str, resolved: set[str]) -> bool:
        """Whether a target is left that is a Provider, or a pool that is ready itself (B7)."""
        found = [each for each in written[name]["targets"] if each["name"] in resolved]
        inner = [("ModelPool", NAMESPACE, each["poolRef"]["name"]) for each in found if each.get("poolRef")]
        ready = [conditions.find(presents[each].status, "Ready")["status"] == "True" for each in inner]
        return len(inner) < len(found) or any(ready)

    assert compiling.different(made.compiled, publication, presents, NOW + timedelta(days=1)) == set()
    for key, present in presents.items():
        ready = conditions.find(present.status, "Ready")
        verdict = made.compiled.result.verdicts[key]
        if key[0] == "Provider":
            assert (ready["status"] == "True") == (verdict.accepted and verdict.resolved)
        else:
            left = {each["name"] for each in present.status.get("targets", ()) if each["state"] == "Resolved"}
            well = verdict.accepted and bool(left) and not verdict.keyless
            assert (ready["status"] == "True") == (well and is_open(key[2], left))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds)
def test_equal_namespaces_have_equal_bytes_whatever_order_their_objects_came_in(manifests: list[Raw]) -> None:
    unique = {(each["kind"], each["metadata"]["name"]): each for each in manifests}
    there, back = world(*unique.values()).compiled, world(*reversed(unique.values())).compiled
    assert (there.config, there.accepted, there.credentials, there.digests) == (
        back.config,
        back.accepted,
        back.credentials,
        back.digests,
    )
