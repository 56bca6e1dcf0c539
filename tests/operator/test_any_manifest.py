"""Whatever lies in a folder, reading and judging it ends in objects and sentences, never in an exception."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifest_cases import API_VERSION
from modelpool_config import codec
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from resource_strategies import worlds

calm = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["*", "\ud800", "openai", "5s", "https://a.com/v1", "None", "", "a" * 300]),
)
keys = st.sampled_from(
    [
        "name",
        "type",
        "models",
        "targets",
        "auth",
        "apiKey",
        "secretRef",
        "fallback",
        "statuses",
        "script",
        "for",
        "x",
        7,
    ]
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=9,
)
manifests = st.one_of(
    values,
    st.fixed_dictionaries(
        {},
        optional={
            "apiVersion": st.one_of(st.sampled_from([API_VERSION, "v1", "modelpool.dev/v2"]), values),
            "kind": st.one_of(st.sampled_from(["Provider", "ModelPool", "Secret", "ConfigMap"]), values),
            "metadata": st.one_of(st.just({"name": "a"}), values),
            "spec": values,
            "data": values,
            "stringData": values,
        },
    ),
)


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a manifest."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _paths(inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            found += _paths(inner, (*path, index))
    return found


@calm
@given(st.lists(manifests, max_size=4))
def test_nothing_that_can_be_written_makes_it_fall_over(found: list[Any]) -> None:
    result = desired(observe(found))
    for namespace in result.namespaces.values():
        codec.decode(codec.encode(namespace.config))
    for problem in result.problems:
        assert problem.document is not None
        assert problem.message.startswith(problem.field)


@calm
@given(worlds, st.data())
def test_no_single_wrong_value_in_a_good_manifest_makes_it_fall_over(world: list[Any], data: st.DataObject) -> None:
    if not world:
        return
    victim = data.draw(st.sampled_from(world))
    path = data.draw(st.sampled_from(_paths(victim)))
    *way, last = path
    holder: Any = victim
    for part in way:
        holder = holder[part]
    before, holder[last] = holder[last], data.draw(values)
    try:
        result = desired(observe(world))
        for namespace in result.namespaces.values():
            codec.decode(codec.encode(namespace.config))
    finally:
        holder[last] = before
