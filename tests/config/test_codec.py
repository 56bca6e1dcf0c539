"""Canonical bytes, digests, gzip, and what a reader does with what it does not know (B52)."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from modelpool_config import codec
from modelpool_config import models as contract
from modelpool_config.codec import InvalidConfigError

Raw = dict[str, Any]

PROVIDER: Raw = {
    "name": "openai",
    "dialect": "OpenAI",
    "requires": [],
    "baseUrl": "https://api.openai.com/v1",
    "auth": {
        "header": "Authorization",
        "prefix": "Bearer ",
        "credential": "openai-api-key-1",
        "source": "Secret openai, key api-key",
    },
    "headers": [{"name": "x-team", "value": "süd ☃", "credential": None, "source": ""}],
    "forwardHeaders": [],
    "responseHeaders": [],
    "traffic": "Normal",
    "timeouts": {"connect": 5000, "head": None, "firstToken": 120000, "idle": 120000, "attempt": None},
    "health": {
        "failures": 5,
        "minRequests": 10,
        "window": 30000,
        "cooldown": 5000,
        "maxCooldown": 30000,
        "successes": 2,
        "rampUp": 10000,
    },
    "connections": {"maxOpen": 512, "idleTimeout": 60000},
    "tracePropagation": "None",
    "fake": None,
}
POOL: Raw = {
    "name": "chat",
    "requires": [],
    "models": ["chat", "gpt-*"],
    "strategy": "Weighted",
    "targets": [{"name": "mini", "provider": "openai", "model": "gpt-4o-mini", "weight": 1, "priority": 0}],
    "unresolved": [],
    "fallback": {
        "outcomes": ["Failed"],
        "statuses": ["5xx"],
        "maxAttempts": 2,
        "sameTarget": {"retries": None, "initial": 250, "max": 2000, "maxRetryAfter": 0},
        "retryBudget": {"percent": 20, "minPerSecond": 3},
    },
    "limits": {"requests": [], "concurrency": {"max": 5}},
    "total": 600000,
    "lastResort": "SoonestToRecover",
    "pinning": "Allowed",
    "responseModel": "Served",
}
CLOSED: Raw = {"name": "bad", "models": ["bad"], "code": "invalid_pool", "message": "no"}


def _raw(**changes: Any) -> Raw:
    """A config as parsed JSON, deep enough a copy to be changed."""
    whole: Raw = {
        "schemaVersion": "1.0",
        "namespace": "default",
        "providers": [PROVIDER],
        "pools": [POOL],
        "closed": [CLOSED],
    }
    copied: Raw = json.loads(json.dumps(whole))
    return {**copied, **changes}


def _bytes(raw: object) -> bytes:
    return json.dumps(raw).encode()


def _config() -> contract.Config:
    return codec.decode(_bytes(_raw()))


def test_what_is_encoded_decodes_to_the_same() -> None:
    config = _config()
    assert codec.decode(codec.encode(config)) == config
    assert codec.decode(codec.compress(codec.encode(config))) == config


def test_canonical_bytes_are_sorted_tight_and_unescaped() -> None:
    data = codec.encode(_config())
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert "süd ☃".encode() in data
    assert data.startswith(b'{"closed":[{"callers":null,"code":"invalid_pool"')


def test_neither_key_order_nor_white_space_changes_the_bytes() -> None:
    turned = json.dumps(dict(reversed(list(_raw().items()))), indent=3).encode()
    assert codec.encode(codec.decode(turned)) == codec.encode(_config())


def test_the_digest_of_a_config_never_changes_between_versions() -> None:
    small = contract.Config(schema_version="1.0", namespace="default", providers=(), pools=(), closed=())
    assert codec.encode(small) == b'{"closed":[],"namespace":"default","pools":[],"providers":[],"schemaVersion":"1.0"}'
    assert codec.config_digest(small) == "sha256:c8e16fad337eba8597ce00a95f7ea525c58ae8a158a091d1a57ab9742c3830c9"


def test_the_digest_is_that_of_the_uncompressed_bytes() -> None:
    config = _config()
    assert codec.config_digest(config) == codec.digest(codec.encode(config))


def test_equal_bytes_compress_to_equal_bytes() -> None:
    data = codec.encode(_config())
    assert codec.compress(data) == codec.compress(data)
    assert gzip.decompress(codec.compress(data)) == data


def test_a_pools_digest_follows_the_pool_and_the_providers_it_uses_and_nothing_else() -> None:
    config = _config()
    before = codec.pool_digest(config, config.pools[0])

    def after(raw: Raw) -> str:
        changed = codec.decode(_bytes(raw))
        return codec.pool_digest(changed, changed.pools[0])

    other = {**PROVIDER, "name": "other", "traffic": "Drained"}
    assert after(_raw(providers=[PROVIDER, other], closed=[], namespace="team")) == before
    assert after(_raw(providers=[{**PROVIDER, "traffic": "Drained"}])) != before
    assert after(_raw(pools=[{**POOL, "pinning": "Denied"}])) != before


def test_a_closed_pool_has_a_digest_of_its_own_words() -> None:
    config = _config()
    closed = config.closed[0]
    assert codec.pool_digest(config, closed) != codec.pool_digest(
        config, closed.model_copy(update={"message": "another reason"})
    )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the config is empty"),
        (b" \n", "the config is empty"),
        (b"{", "the config is not JSON: "),
        (b"\xff\xfe{}", "the config is not JSON: "),
        (b"[]", "the config must be a JSON object, not list"),
        (b"\x1f\x8bnot gzip", "the config is not gzip: "),
        (codec.compress(b"{}")[:-9], "the gzipped config is cut short"),
        (codec.compress(b""), "the config is empty"),
    ],
)
def test_what_is_no_config_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        codec.decode(data)
    assert str(caught.value).startswith(sentence)


def test_a_bomb_ends_at_the_bound() -> None:
    bomb = gzip.compress(b" " * (codec.MAX_DECODED_BYTES + 1), compresslevel=1)
    with pytest.raises(InvalidConfigError, match="the config is larger than 67108864 bytes"):
        codec.decode(bomb)


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0"])
def test_another_major_version_is_refused(version: str) -> None:
    with pytest.raises(InvalidConfigError, match=f"schemaVersion {version} is not readable here"):
        codec.decode(_bytes(_raw(schemaVersion=version)))


@pytest.mark.parametrize(
    "version", [None, 1, "1", "1.0.0", "1.x", "", "1.-1", "1.²", "1." + "9" * 5_000, "9" * 5_000 + ".0"]
)
def test_a_version_that_cannot_be_read_is_refused(version: object) -> None:
    with pytest.raises(InvalidConfigError, match="schemaVersion must be like"):
        codec.decode(_bytes(_raw(schemaVersion=version)))


def _deep(raw: Raw) -> None:
    raw["new"] = 1
    raw["pools"][0]["new"] = {"deep": True}
    raw["pools"][0]["targets"][0]["new"] = []
    raw["providers"][0]["timeouts"]["new"] = None


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    raw = _raw(schemaVersion="1.7")
    _deep(raw)
    config = codec.decode(_bytes(raw))
    assert (config.pools, config.providers) == (_config().pools, _config().providers)
    assert config.schema_version == "1.7"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda raw: raw.update(new=1), "new"),
        (lambda raw: raw["pools"][0].update(new=1), "pools[0].new"),
        (lambda raw: raw["pools"][0]["targets"][0].update(new=1), "pools[0].targets[0].new"),
        (lambda raw: raw["pools"][0]["limits"]["concurrency"].update(new=1), "pools[0].limits.concurrency.new"),
        (lambda raw: raw["providers"][0]["auth"].update(new=1), "providers[0].auth.new"),
        (lambda raw: raw["closed"][0].update(new=1), "closed[0].new"),
        (lambda raw: raw["pools"][0].update(response_model="Served"), "pools[0].response_model"),
    ],
)
def test_a_field_that_this_version_should_know_and_does_not_is_refused(
    change: Callable[[Raw], None], path: str
) -> None:
    raw = _raw()
    change(raw)
    with pytest.raises(InvalidConfigError) as caught:
        codec.decode(_bytes(raw))
    assert str(caught.value) == f"{path} is not a field of schema {contract.SCHEMA_VERSION}"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda raw: raw["pools"][0].update(total="soon"), "pools.0.total: "),
        (lambda raw: raw["providers"][0]["timeouts"].update(connect="5"), "providers.0.timeouts.connect: "),
        (lambda raw: raw["providers"][0]["timeouts"].update(firstToken=True), "providers.0.timeouts.firstToken: "),
        (lambda raw: raw["providers"][0]["health"].update(failures="5"), "providers.0.health.failures: "),
        (lambda raw: raw["providers"][0]["health"].update(failures=5.0), "providers.0.health.failures: "),
        (lambda raw: raw["pools"][0].update(requires=[["a"]]), "pools.0.requires.0: "),
        (lambda raw: raw["pools"][0].update(targets=[]), "pool chat has no target"),
        (lambda raw: raw["pools"][0].update(targets=[1]), "pools.0.targets.0: "),
        (lambda raw: raw["pools"][0].pop("fallback"), "pools.0.fallback: "),
        (lambda raw: raw.update(pools=[1]), "pools.0: "),
        (lambda raw: raw.update(providers=["x"]), "providers.0: "),
        (lambda raw: raw.pop("namespace"), "namespace: "),
        (lambda raw: raw.update(closed=None), "closed must be a list"),
        (lambda raw: raw["pools"][0].update(targets={}), "targets must be a list"),
    ],
)
def test_a_wrong_type_is_refused_with_its_place(change: Callable[[Raw], None], where: str) -> None:
    raw = _raw()
    change(raw)
    with pytest.raises(InvalidConfigError) as caught:
        codec.decode(_bytes(raw))
    assert str(caught.value).startswith(where)


def test_a_refused_config_does_not_repeat_what_it_holds() -> None:
    raw = _raw(providers=[{**PROVIDER, "auth": "sk-secret"}])
    with pytest.raises(InvalidConfigError) as caught:
        codec.decode(_bytes(raw))
    assert "sk-secret" not in str(caught.value)


def test_a_pool_that_requires_what_is_not_there_is_closed_alone() -> None:
    newer = {**POOL, "name": "new", "models": ["new"], "requires": ["hedging", "cache"], "hedging": {"percent": 5}}
    config = codec.decode(_bytes(_raw(schemaVersion="1.99", pools=[POOL, newer])), features=frozenset({"cache"}))
    assert [pool.name for pool in config.pools] == ["chat"]
    shut = next(pool for pool in config.closed if pool.name == "new")
    assert (shut.code, shut.models) == ("sidecar_too_old", ("new",))
    assert shut.message == (
        "this sidecar is too old for the pool: it lacks hedging; restart the pod to get a newer one"
    )


def test_a_pool_that_is_not_understood_is_not_even_parsed() -> None:
    newer = {"name": "new", "models": ["new"], "requires": ["shape"], "targets": [{"kind": "unheard of"}, 7]}
    config = codec.decode(_bytes(_raw(schemaVersion="1.99", pools=[POOL, newer])))
    assert [(pool.name, pool.code) for pool in config.closed] == [("bad", "invalid_pool"), ("new", "sidecar_too_old")]


def test_a_pool_whose_provider_requires_too_much_is_closed_with_it() -> None:
    newer = {**PROVIDER, "name": "new", "dialect": "Gemini", "requires": ["gemini"]}
    other = {**POOL, "name": "other", "models": ["other"], "targets": [{**POOL["targets"][0], "provider": "new"}]}
    config = codec.decode(_bytes(_raw(schemaVersion="1.99", providers=[PROVIDER, newer], pools=[POOL, other])))
    assert [provider.name for provider in config.providers] == ["openai"]
    assert [pool.name for pool in config.pools] == ["chat"]
    assert "it lacks gemini;" in next(pool for pool in config.closed if pool.name == "other").message


def test_what_is_required_and_there_is_no_obstacle() -> None:
    able = {**POOL, "requires": ["cache"]}
    config = codec.decode(_bytes(_raw(pools=[able])), features=frozenset({"cache"}))
    assert config.pools[0].requires == ("cache",)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"providers": []}, "pool chat, target mini: no provider 'openai'"),
        ({"providers": [PROVIDER, PROVIDER]}, "providers: the name 'openai' stands there twice"),
        ({"pools": [POOL, POOL]}, "pools: the name 'chat' stands there twice"),
        ({"closed": [{**CLOSED, "name": "chat"}]}, "pools: the name 'chat' stands there twice"),
        (
            {"pools": [{**POOL, "targets": POOL["targets"] * 2}]},
            "targets of pool chat: the name 'mini' stands there twice",
        ),
    ],
)
def test_references_and_names_are_checked(changes: Raw, sentence: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        codec.decode(_bytes(_raw(**changes)))
    assert str(caught.value) == sentence


def test_an_older_config_without_the_newest_optional_fields_is_read() -> None:
    raw = _raw()
    del raw["pools"][0]["requires"]
    del raw["providers"][0]["requires"]
    assert codec.decode(_bytes(raw)) == _config()
