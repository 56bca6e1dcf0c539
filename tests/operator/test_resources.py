"""Manifests as objects, or as problems."""

import base64

import pytest

from manifest_cases import pool, provider, secret
from modelpool_operator.resources import observe


def test_objects_are_found_by_namespace_and_name_and_lead_back_to_their_manifest() -> None:
    seen = observe([secret(api_key="k"), provider(namespace="team"), pool()])
    assert list(seen.providers) == [("team", "openai")]
    assert list(seen.pools) == [("default", "chat")]
    assert seen.documents == {
        ("Secret", "default", "openai"): 0,
        ("Provider", "team", "openai"): 1,
        ("ModelPool", "default", "chat"): 2,
    }


@pytest.mark.parametrize("metadata", [{"name": "chat"}, {"name": "chat", "namespace": None}])
def test_an_absent_namespace_is_default(metadata: dict[str, object]) -> None:
    assert list(observe([{**pool(), "metadata": metadata}]).pools) == [("default", "chat")]


def test_what_kubernetes_writes_around_a_spec_is_no_problem() -> None:
    raw = pool()
    raw["metadata"] |= {"uid": "1", "labels": {"a": "b"}, "generation": 3, "creationTimestamp": "2026-01-01T00:00:00"}
    raw["status"] = {"conditions": []}
    assert observe([raw]).problems == ()


@pytest.mark.parametrize(
    "other",
    [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}},
        {"apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "kind": "Provider", "metadata": {"name": "a"}},
        {"apiVersion": "v1", "kind": "Service"},
        {"kind": "Kustomization"},
        {},
    ],
)
def test_other_kinds_are_skipped(other: dict[str, object]) -> None:
    seen = observe([provider(), other])
    assert (seen.skipped, seen.problems) == ((1,), ())


@pytest.mark.parametrize("given", ["modelpol.dev/v1alpha1", "v1alpha1", "v1", ""])
def test_a_slip_in_the_group_does_not_make_a_provider_somebody_elses(given: str) -> None:
    seen = observe([{**provider(), "apiVersion": given}])
    assert [problem.message for problem in seen.problems] == [
        f'apiVersion must be modelpool.dev/v1alpha1, not "{given}"'
    ]
    assert (seen.skipped, len(seen.refused)) == ((), 1)


def test_a_field_of_the_spec_that_stands_beside_it_is_told_where_it_belongs() -> None:
    seen = observe([{**provider(), "baseURL": "https://api.example.com/v1"}])
    assert [problem.message for problem in seen.problems] == ["baseURL is not a known field; it belongs in spec"]


def test_a_secret_without_its_version_is_told_and_read_all_the_same() -> None:
    raw = secret("s", a="plain")
    del raw["apiVersion"]
    seen = observe([raw, {"apiVersion": "secrets.example.com/v1", "kind": "Secret", "metadata": {"name": "t"}}])
    assert [problem.message for problem in seen.problems] == ["apiVersion must be v1, and is missing"]
    assert (seen.secrets, seen.skipped) == ({("default", "s"): {"a": b"plain"}}, (1,))


def test_a_secret_is_read_as_kubernetes_reads_it() -> None:
    raw = secret("s", a="plain", b="wins")
    raw["data"] = {"b": "bG9zZXM=", "c": base64.b64encode(b"\x00\xff" * 60).decode("ascii"), "d": "aGVs\nbG8=\n"}
    assert observe([raw]).secrets["default", "s"] == {"a": b"plain", "b": b"wins", "c": b"\x00\xff" * 60, "d": b"hello"}


def test_a_bad_entry_of_a_secret_leaves_the_others() -> None:
    raw = secret("s", a="plain")
    raw["data"] = {"b": "not base64!"}
    seen = observe([raw])
    assert seen.secrets["default", "s"] == {"a": b"plain"}
    assert [problem.field for problem in seen.problems] == ["data.b"]


def test_secrets_from_elsewhere_win_key_by_key() -> None:
    seen = observe(
        [secret("s", a="disk", b="disk")], secrets={("default", "s"): {"a": b"env"}, ("x", "t"): {"k": b"v"}}
    )
    assert seen.secrets == {("default", "s"): {"a": b"env", "b": b"disk"}, ("x", "t"): {"k": b"v"}}


def test_a_config_map_is_looked_at() -> None:
    good = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}, "data": {"a": "b"}}
    assert observe([good, secret("s")]).problems == ()
    assert observe([{**good, "data": {"a": 1}}]).problems[0].message == "data.a must be a string; put it in quotes"


def test_the_first_of_two_manifests_of_one_object_holds() -> None:
    seen = observe([pool(pinning="Denied"), pool(pinning="Allowed"), pool(pinning="No")])
    assert seen.pools["default", "chat"].spec.pinning == "Denied"
    assert [problem.document for problem in seen.problems] == [1, 2]


def test_a_refused_first_manifest_is_not_replaced_by_the_second() -> None:
    seen = observe([pool(pinning="No"), {**pool(), "apiVersion": "modelpool.dev/v9"}, pool()])
    assert seen.pools == {}
    assert list(seen.refused) == [("ModelPool", "default", "chat")]
    assert seen.documents["ModelPool", "default", "chat"] == 0
