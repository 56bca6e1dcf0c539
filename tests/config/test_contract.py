"""The contract test above all: whatever `desired` renders, the sidecar's snapshot compiles."""

from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelpool_config import codec
from modelpool_config import models as contract
from modelpool_config.models import OutcomeName
from modelpool_operator import defaults
from modelpool_operator.desired import Desired, desired
from modelpool_operator.forms import Form
from modelpool_operator.resources import observe
from modelpool_sidecar.core import outcome
from modelpool_sidecar.core.compiled import compile_config
from resource_strategies import pools, providers, worlds

World = list[dict[str, Any]]

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def _compiles(result: Desired) -> None:
    for namespace in result.namespaces.values():
        config = namespace.config
        data = codec.encode(config)
        assert codec.decode(data) == config
        assert codec.decode(codec.compress(data)) == config
        snapshot = compile_config(
            config,
            credential_digest=lambda name, files=namespace.credentials: "d" if name in files else None,
            fake_base_url=lambda _name: "http://127.0.0.1:1/v1",
        )
        assert set(snapshot.pools) == {pool.name for pool in (*config.pools, *config.closed)}
        wanted = {secret.credential for found in snapshot.providers.values() for secret in found.secrets}
        assert wanted == set(namespace.credentials) - snapshot.caller_files


@settings(calm, max_examples=300)
@given(worlds)
def test_whatever_desired_renders_the_snapshot_compiles(world: World) -> None:
    _compiles(desired(observe(world)))


@settings(calm, max_examples=100)
@given(worlds, worlds)
def test_so_it_does_after_an_edit_with_the_last_accepted_forms_and_copied_keys(before: World, after: World) -> None:
    first = desired(observe(before))
    copied = {name: namespace.credentials for name, namespace in first.namespaces.items()}
    _compiles(desired(observe(after), last_good=first.accepted, copied=copied))


@settings(calm, max_examples=100)
@given(worlds)
def test_the_same_world_gives_the_same_bytes(world: World) -> None:
    first, second = desired(observe(world)), desired(observe(world))
    assert {name: codec.encode(part.config) for name, part in first.namespaces.items()} == {
        name: codec.encode(part.config) for name, part in second.namespaces.items()
    }


@settings(calm, max_examples=100)
@given(st.lists(pools, max_size=4, unique_by=lambda raw: raw["metadata"]["name"]), providers)
def test_the_order_of_the_manifests_does_not_matter(world: World, one: dict[str, Any]) -> None:
    forth, back = desired(observe([*world, one])), desired(observe([one, *reversed(world)]))
    assert {name: part.config for name, part in forth.namespaces.items()} == {
        name: part.config for name, part in back.namespaces.items()
    }


@settings(calm, max_examples=100)
@given(worlds)
def test_every_pool_is_published_open_or_closed(world: World) -> None:
    result = desired(observe(world))
    declared = {raw["metadata"]["name"] for raw in world if raw["kind"] == "ModelPool"}
    config = result.namespaces["default"].config if result.namespaces else None
    published = [pool.name for pool in (*config.pools, *config.closed)] if config else []
    assert sorted(published) == sorted(declared)


@settings(calm, max_examples=100)
@given(worlds)
def test_no_model_name_is_given_twice_and_every_object_has_a_verdict(world: World) -> None:
    result = desired(observe(world))
    for namespace in result.namespaces.values():
        models = [m for pool in (*namespace.config.pools, *namespace.config.closed) for m in pool.models]
        assert len(models) == len(set(models))
    kept = {(raw["kind"], "default", raw["metadata"]["name"]) for raw in world if raw["kind"] != "Secret"}
    assert set(result.verdicts) == kept
    assert all(not verdict.accepted for verdict in result.verdicts.values() if verdict.form is not Form.CURRENT)


def test_the_compiler_and_the_sidecar_agree_on_what_falls_back_by_default() -> None:
    assert defaults.OUTCOMES == outcome.BY_DEFAULT


@pytest.mark.parametrize("names", [get_args(OutcomeName), get_args(contract.OutcomeName)])
def test_the_api_the_contract_and_the_sidecar_name_the_same_outcomes(names: tuple[str, ...]) -> None:
    assert sorted(names) == sorted(outcome.CONFIGURABLE)
