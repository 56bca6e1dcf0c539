"""Everything that was seen, as last seen, and which namespaces a change concerns."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifest_cases import keyed, pool, provider
from modelpool_operator.api.provider import Provider
from modelpool_operator.resources import Refused
from modelpool_operator.store import Mark, Moved, Store, ending, mark_of, name_of, parsed

Raw = dict[str, Any]
VALUE = "SHOUT-1"


def seen(manifest: Raw, version: int = 1, generation: int = 1, uid: str = "u1", **metadata: Any) -> Raw:
    """A manifest as it comes from the API server."""
    inner = {**manifest["metadata"], "resourceVersion": str(version), "generation": generation, "uid": uid, **metadata}
    return {**manifest, "metadata": inner}


def marked(name: str, namespace: str | None = None, version: int = 1, **metadata: Any) -> Raw:
    """The metadata of any object."""
    return {"metadata": {"name": name, "namespace": namespace, "resourceVersion": str(version), **metadata}}


def _table(store: Store, *manifests: Raw) -> None:
    for each in manifests:
        store.namespaces.put(name_of(each), mark_of(each))


def test_a_provider_and_a_pool_are_observed_as_they_were_read() -> None:
    store = Store()
    assert store.see("Provider", seen(provider())) is Moved.OBJECT
    assert store.see("ModelPool", seen(pool(), 2)) is Moved.OBJECT
    observed = store.observed("default")
    assert list(observed.providers) == [("default", "openai")]
    assert list(observed.pools) == [("default", "chat")]
    assert observed.problems == ()
    assert store.observed("elsewhere").pools == {}


def test_an_object_that_cannot_be_read_is_refused_with_the_names_it_claims() -> None:
    store = Store()
    store.see("ModelPool", seen(pool(models=[{"name": "x"}], targets=[])))
    refused = store.observed("default").refused["ModelPool", "default", "chat"]
    assert refused.models == ("x",)
    assert "targets" in refused.problems[0].message


def test_an_object_whose_name_we_would_not_take_is_refused_and_stops_nobody() -> None:
    """The schema holds names to 63 characters; an object from before it did may have more."""
    store = Store()
    store.see("Provider", seen(provider("x" * 100)))
    content = store.resources["Provider"].get(("default", "x" * 100)).content
    assert isinstance(content, Refused)
    assert content.problems


def test_an_object_without_a_spec_is_refused() -> None:
    manifest = seen(provider())
    del manifest["spec"]
    assert isinstance(parsed("Provider", manifest, None).content, Refused)


def test_what_users_note_on_an_object_is_not_judged() -> None:
    manifest = seen(provider(), labels={"a": "not a label at all!"}, annotations={"x": "y"}, managedFields=[{"a": 1}])
    assert isinstance(parsed("Provider", manifest, None).content, Provider)


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"version": 1}, Moved.NOTHING),
        ({"version": 2}, Moved.NOTHING),
        ({"version": 2, "generation": 2}, Moved.OBJECT),
        ({"version": 2, "uid": "u2"}, Moved.OBJECT),
        ({"version": 0, "generation": 2}, Moved.OBJECT),
        ({"version": 2, "labels": {"a": "b"}}, Moved.NOTHING),
    ],
)
def test_what_moved_is_told(change: Raw, moved: Moved) -> None:
    store = Store()
    store.see("Provider", seen(provider()))
    assert store.see("Provider", seen(provider(), **change)) is moved


def test_a_status_that_moved_alone_is_told_as_such() -> None:
    store = Store()
    store.see("Provider", seen(provider()))
    status = {"observedGeneration": 1}
    assert store.see("Provider", {**seen(provider(), 2), "status": status}) is Moved.STATUS
    assert store.see("Provider", {**seen(provider(), 2), "status": status}) is Moved.NOTHING
    assert store.see("Provider", {**seen(provider(), 3), "status": None}) is Moved.STATUS


def test_an_equal_spec_is_not_read_twice() -> None:
    store = Store()
    store.see("Provider", seen(provider()))
    before = store.seen(("Provider", "default", "openai"))
    store.see("Provider", seen(provider(), 2))
    after = store.seen(("Provider", "default", "openai"))
    assert after.content is before.content
    assert after.version == 2


@pytest.mark.parametrize("how", [{"deleted": True}, {}])
def test_a_deleted_object_and_one_that_is_being_deleted_are_gone(how: Raw) -> None:
    store = Store()
    store.see("Provider", seen(provider()))
    more = {} if how else {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert store.see("Provider", seen(provider(), 2, **more), **how) is Moved.OBJECT
    assert store.see("Provider", seen(provider(), 2, **more), **how) is Moved.NOTHING
    assert store.seen(("Provider", "default", "openai")) is None
    assert store.observed("default").providers == {}


def test_a_list_replaces_and_names_the_namespaces_in_which_something_moved() -> None:
    store = Store()
    store.see("ModelPool", seen(pool()))
    store.see("ModelPool", seen(pool(namespace="shop")))
    store.see("ModelPool", seen(pool(namespace="quiet")))
    dying = seen(pool("dying", namespace="shop"), 4, deletionTimestamp="2026-01-01T00:00:00Z")
    listed = [seen(pool(namespace="quiet")), seen(pool("new", namespace="shop"), 3), dying]
    assert store.see_all("ModelPool", listed, "10", None) == {"default", "shop"}
    assert list(store.observed("shop").pools) == [("shop", "new")]


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    store = Store()
    store.see("ModelPool", seen(pool()))
    store.see("ModelPool", seen(pool(namespace="shop")))
    assert store.see_all("ModelPool", [], "10", "shop") == {"shop"}
    assert list(store.observed("default").pools) == [("default", "chat")]


def test_a_namespace_wants_a_config_by_its_label_or_because_it_is_watched_by_name() -> None:
    store = Store(["named"])
    _table(
        store,
        marked("labelled", labels={"modelpool.dev/injection": "enabled"}),
        marked("other", labels={"modelpool.dev/injection": "disabled"}),
        marked("bare", labels=None),
    )
    wanting = [name for name in ("named", "labelled", "other", "bare", "unknown") if store.wants_config(name)]
    assert wanting == ["named", "labelled"]
    assert store.known_namespaces() == {"named", "labelled"}


def test_a_namespace_is_known_by_what_is_in_it_too() -> None:
    store = Store()
    store.see("Provider", seen(provider(namespace="a")))
    store.see("ModelPool", seen(pool(namespace="b")))
    store.config_maps.put(("c", "modelpool-config"), Mark(1))
    store.secrets.put(("d", "anything"), Mark(1))
    assert store.known_namespaces() == {"a", "b", "c"}


def test_a_namespace_is_used_while_anything_of_ours_is_there_or_wanted_there() -> None:
    store = Store(["named"])
    store.see("Provider", seen(provider(namespace="a")))
    store.see("ModelPool", seen(pool(namespace="b")))
    store.config_maps.put(("c", "modelpool-config"), Mark(1))
    _table(store, marked("labelled", labels={"modelpool.dev/injection": "enabled"}))
    used = [name for name in ("named", "labelled", "a", "b", "c", "unknown") if store.is_used(name)]
    assert used == ["named", "labelled", "a", "b"]


def test_every_object_of_a_namespace_is_found_whether_it_can_be_read_or_not() -> None:
    store = Store()
    store.see("Provider", seen(provider(dialect="Nothing")))
    store.see("ModelPool", seen(pool(), 2))
    store.see("ModelPool", seen(pool(namespace="elsewhere"), 3))
    keys = {("Provider", "default", "openai"), ("ModelPool", "default", "chat")}
    assert store.all_of("default") == {key: store.seen(key) for key in keys}
    assert store.all_of("unknown") == {}


def test_a_namespace_on_its_way_out_is_ending() -> None:
    store = Store()
    _table(store, marked("gone", deletionTimestamp="2026-01-01T00:00:00Z"), marked("here"))
    assert [store.is_ending(name) for name in ("gone", "here", "unknown")] == [True, False, False]


def test_a_secret_concerns_a_namespace_only_where_a_provider_names_it() -> None:
    store = Store()
    store.see("Provider", seen(provider(auth=keyed("mine"))))
    assert [store.refers_to("default", name) for name in ("mine", "other")] == [True, False]
    assert not store.refers_to("elsewhere", "mine")


def test_a_secret_concerns_a_namespace_where_the_callers_of_a_pool_name_it() -> None:
    store = Store()
    store.see("ModelPool", seen(pool(callers={"keys": {"secretRef": {"name": "team-keys"}}})))
    store.see("ModelPool", seen(pool("open")))
    assert [store.refers_to("default", name) for name in ("team-keys", "other")] == [True, False]


def test_any_secret_concerns_a_namespace_with_a_provider_that_cannot_be_read() -> None:
    """Its last accepted form may name any."""
    store = Store()
    store.see("Provider", seen(provider(dialect="Nothing")))
    assert store.refers_to("default", "any")


def test_a_mark_keeps_nothing_but_that_something_is_there() -> None:
    secret = {**marked("key", "shop", 7), "data": {"api-key": VALUE}}
    assert mark_of(secret) == Mark(7, flag=False, ending=False)
    assert VALUE not in repr(mark_of(secret))
    assert name_of(secret) == ("shop", "key")
    assert not ending(secret)


_steps = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["put", "delete", "status"])), min_size=1, max_size=20
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_steps, st.randoms(use_true_random=False))
def test_however_late_events_come_what_is_observed_in_the_end_is_what_is_there(steps: list[Any], chance: Any) -> None:
    there: dict[str, Raw] = {}
    events: list[tuple[Raw, bool]] = []
    for version, (name, what) in enumerate(steps, 1):
        old = there.get(name)
        if what == "delete":
            if old is not None:
                events.append(
                    ({**there.pop(name), "metadata": {**old["metadata"], "resourceVersion": str(version)}}, True)
                )
            continue
        generation = old["metadata"]["generation"] + (what == "put") if old else 1
        uid = old["metadata"]["uid"] if old else f"u{version}"
        spec = {"timeouts": {"connect": f"{generation}s"}}
        there[name] = {**seen(provider(name, **spec), version, generation, uid), "status": {"n": version}}
        events.append((there[name], False))
    store = Store()
    told = events * 2
    chance.shuffle(told)
    for manifest, deleted in told:
        store.see("Provider", manifest, deleted=deleted)
    found = store.resources["Provider"].of("default")
    assert set(found) == set(there)
    for name, manifest in there.items():
        assert found[name].version == int(manifest["metadata"]["resourceVersion"])
        assert found[name].status == manifest["status"]
        assert found[name].content.spec.timeouts.connect == manifest["spec"]["timeouts"]["connect"]
