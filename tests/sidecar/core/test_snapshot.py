"""A config compiles into what a request looks things up in; what cannot run is refused by name."""

import pytest

from builders import a_config, a_pool, a_provider, a_snapshot, a_target, an_api_key, the_pool
from modelpool_config.models import ClosedPool, Fake
from modelpool_sidecar.core.compiled import CannotCompileError, compile_config


def test_tiers_stand_by_priority_lowest_first() -> None:
    targets = [a_target("last", priority=9), a_target("first"), a_target("also", priority=0)]
    pool = the_pool(a_snapshot([a_pool(targets=targets)]))
    assert [[target.name for target in tier] for tier in pool.tiers] == [["first", "also"], ["last"]]


def test_a_new_key_is_a_new_identity_and_an_old_one_stays() -> None:
    config = a_config(None, [a_provider(auth=an_api_key())])
    keys = [
        the_pool(compile_config(config, credential_digest=lambda _name, digest=digest: digest)).targets["primary"].key
        for digest in ("aaaa", "aaaa", "bbbb", None)
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_the_digests_of_mounted_credentials_are_known_and_the_missing_left_out() -> None:
    config = a_config(None, [a_provider(auth=an_api_key("here")), a_provider("other", auth=an_api_key("away"))])
    pools = [a_pool(targets=[a_target(), a_target("other")])]
    config = a_config(pools, config.providers)
    digests = compile_config(config, credential_digest={"here": "abcd"}.get).credential_digests
    assert dict(digests) == {"here": "abcd"}


def test_secret_headers_are_credentials_too() -> None:
    headers = [{"name": "X-Team", "value": "blue"}, {"name": "X-Token", "credential": "token", "source": "Secret t"}]
    provider = a_snapshot(None, [a_provider(headers=headers, auth=an_api_key())]).providers["primary"]
    assert provider.headers == (("x-team", "blue"),)
    assert [secret.header for secret in provider.secrets] == ["authorization", "x-token"]
    assert provider.secret_headers[0].source == "Secret t"


def test_a_fake_provider_is_found_where_it_listens() -> None:
    config = a_config(None, [a_provider(dialect="Fake", base_url=None, fake=Fake())])
    snapshot = compile_config(config, fake_base_url=lambda name: f"http://127.0.0.1:7/{name}/v1")
    assert snapshot.providers["primary"].base_url == "http://127.0.0.1:7/primary/v1"


@pytest.mark.parametrize("base_url", [None, "ftp://host/v1", "nonsense", "http:///v1"])
def test_a_provider_without_an_address_does_not_compile(base_url: str | None) -> None:
    with pytest.raises(CannotCompileError, match="provider primary"):
        a_snapshot(None, [a_provider(base_url=base_url)])


@pytest.mark.parametrize("names", [("same",), ("same*",)])
def test_two_pools_with_one_name_do_not_compile(names: tuple[str, ...]) -> None:
    with pytest.raises(CannotCompileError, match="pools one and two both claim the model name 'same"):
        a_snapshot([a_pool("one", models=names), a_pool("two", models=names)])


def test_ports_come_from_the_scheme_where_none_is_written() -> None:
    urls = {"a": "https://api.example/v1", "b": "http://svc/v1", "c": "http://svc:8080/v1/"}
    providers = [a_provider(name, base_url=url) for name, url in urls.items()]
    pools = [a_pool(targets=[a_target(name) for name in urls])]
    found = a_snapshot(pools, providers).providers
    assert [(found[name].host, found[name].port) for name in urls] == [("api.example", 443), ("svc", 80), ("svc", 8080)]
    assert found["c"].base_url == "http://svc:8080/v1"


def test_a_limit_is_known_by_its_level_pool_and_name() -> None:
    limits = {
        "requests": [{"name": "burst", "max": 10, "per": 60_000, "burst": 5, "scope": "Divided"}],
        "concurrency": {"max": 3},
    }
    pool = the_pool(a_snapshot([a_pool(limits=limits)]))
    assert pool.request_limits[0].key == ("pool", "chat", "burst")
    assert (pool.request_limits[0].per, pool.request_limits[0].divided, pool.concurrency) == (60.0, True, 3)


def test_a_snapshot_introduces_itself() -> None:
    closed = ClosedPool(name="bad", models=("bad",), code="no_target", message="x")
    snapshot = a_snapshot([a_pool()], closed=[closed])
    assert repr(snapshot) == f"<Snapshot {snapshot.digest[7:19]}: 2 pools, 1 providers>"


@pytest.mark.parametrize(("status", "named"), [(429, True), (503, True), (599, False), (404, False), (None, False)])
def test_statuses_name_by_digit_or_x(status: int | None, named: bool) -> None:
    pool = the_pool(a_snapshot([a_pool(fallback={"statuses": ("429", "50x")})]))
    assert pool.fallback.names_status(status) is named
