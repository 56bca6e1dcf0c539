"""The two objects that carry a namespace's config, to bytes and back."""

import base64
import gzip
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifest_cases import keyed, pool, provider, secret
from modelpool_config import codec
from modelpool_operator import manifests
from modelpool_operator.manifests import Content
from resource_strategies import worlds
from status_cases import NAMESPACE, NOW, world

Raw = dict[str, Any]
OWN = "modelpool-system/modelpool"
VALUE = "SHOUT-1"
SMALL = Content(b'{"a":1}', codec.compress(b"[]"), 3)
_contents = st.builds(
    Content,
    st.one_of(
        st.dictionaries(st.text(max_size=5), st.text(max_size=40), max_size=4).map(
            lambda each: json.dumps(each, ensure_ascii=False).encode(errors="replace")
        ),
        st.integers(manifests.PLAIN_BYTES - 2, manifests.PLAIN_BYTES + 3).map(lambda size: b'"' + b"a" * size + b'"'),
    ),
    st.binary(max_size=60),
    st.integers(1, 100_000),
)


def _stored(applied: Raw, version: str = "7") -> Raw:
    """As the API server gives it back."""
    stored: Raw = json.loads(json.dumps(applied))
    stored["metadata"] |= {"resourceVersion": version, "uid": "1", "managedFields": []}
    return stored


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_contents)
def test_what_is_written_is_read_back(content: Content) -> None:
    found = manifests.read(_stored(manifests.config_map("shop", OWN, content, NOW)))
    assert found.content == content
    assert (found.instance, found.version, found.written, found.strange) == (OWN, "7", NOW, ())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_contents, st.integers(0, 10**9))
def test_equal_contents_have_equal_bytes(content: Content, seconds: int) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    first, second = (json.dumps(manifests.config_map("shop", OWN, content, at)) for _ in range(2))
    assert first == second


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.from_regex(r"[ -~]{1,20}", fullmatch=True)))
def test_credentials_are_written_and_read_back(credentials: dict[str, str]) -> None:
    applied = manifests.secret("shop", OWN, credentials, NOW)
    found = manifests.read(_stored(applied))
    assert found.credentials == credentials
    assert (found.instance, found.strange) == (OWN, ())
    assert "stringData" not in applied
    shuffled = dict(sorted(credentials.items(), reverse=True))
    assert json.dumps(manifests.secret("shop", OWN, shuffled, NOW)) == json.dumps(applied)


def test_a_small_config_can_be_read_with_kubectl_and_a_large_one_is_gzipped() -> None:
    small = manifests.config_map("shop", OWN, SMALL, NOW)
    assert small["data"]["config.json"] == '{"a":1}'
    large = manifests.config_map("shop", OWN, Content(b" " * (manifests.PLAIN_BYTES + 1), b"", 1), NOW)
    assert "config.json" not in large["data"]
    assert gzip.decompress(base64.b64decode(large["binaryData"]["config.json.gz"])) == b" " * (
        manifests.PLAIN_BYTES + 1
    )


def test_both_say_whose_they_are() -> None:
    for each in (manifests.config_map("shop", OWN, SMALL, NOW), manifests.secret("shop", OWN, {}, NOW)):
        assert each["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "modelpool"}
        assert each["metadata"]["annotations"]["modelpool.dev/instance"] == OWN
        assert each["metadata"]["annotations"]["modelpool.dev/written"] == "2026-11-26T12:00:00Z"


def test_no_value_of_a_credential_is_shown() -> None:
    found = manifests.read(_stored(manifests.secret("shop", OWN, {"a": VALUE}, NOW)))
    assert VALUE not in repr(found)
    assert VALUE not in repr(manifests.read(_stored(manifests.config_map("shop", OWN, SMALL, NOW))))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_contents, st.dictionaries(st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.text("ab", max_size=20)))
def test_the_size_is_never_less_than_what_the_api_server_counts(content: Content, credentials: dict[str, str]) -> None:
    body = manifests.config_map("shop", OWN, content, NOW)
    values = [*(each.encode() for each in body["data"].values()), *map(base64.b64decode, body["binaryData"].values())]
    counted = sum(map(len, values))
    keys = sum(map(len, [*body["data"], *body["binaryData"]]))
    assert counted <= manifests.size_bytes(body) <= counted + keys + 2 * len(values)
    body = manifests.secret("shop", OWN, credentials, NOW)
    counted = sum(len(base64.b64decode(each)) for each in body["data"].values())
    keys = sum(map(len, body["data"]))
    assert counted <= manifests.size_bytes(body) <= counted + keys + 2 * len(credentials)


@pytest.mark.parametrize(
    "body", [{"kind": "ConfigMap"}, {"kind": "Secret", "data": None}, {"kind": "ConfigMap", "data": {}}]
)
def test_an_empty_object_has_no_size(body: Raw) -> None:
    assert manifests.size_bytes(body) == 0


def _ours(kind: str = "ConfigMap", **members: Any) -> Raw:
    metadata = {
        "name": "modelpool-config",
        "resourceVersion": "9",
        "labels": {"app.kubernetes.io/managed-by": "modelpool"},
        "annotations": {"modelpool.dev/instance": OWN},
    }
    return {"kind": kind, "metadata": metadata, **members}


def test_an_object_of_somebody_else_is_not_looked_into() -> None:
    for labels in (None, {}, {"app.kubernetes.io/managed-by": "Helm"}):
        obj = _ours("Secret", data={"credential.a": _b64(b"x")})
        obj["metadata"]["labels"] = labels
        found = manifests.read(obj)
        assert (found.instance, found.credentials, found.strange) == (None, {}, ())


def test_an_object_of_ours_that_lost_its_instance_belongs_to_nobody_known() -> None:
    obj = _ours()
    obj["metadata"]["annotations"] = None
    assert manifests.read(obj).instance == ""


@pytest.mark.parametrize(
    ("members", "content"),
    [
        ({}, Content(None, None, None)),
        ({"data": None, "binaryData": None}, Content(None, None, None)),
        ({"binaryData": {"config.json.gz": "%%%"}}, Content(None, None, None)),
        ({"binaryData": {"config.json.gz": _b64(b"junk")}}, Content(None, None, None)),
        ({"binaryData": {"config.json.gz": _b64(codec.compress(b"{}")[:-4])}}, Content(None, None, None)),
        ({"binaryData": {"accepted.json.gz": "ä"}}, Content(None, None, None)),
        ({"data": {"sidecars.json": "many"}}, Content(None, None, None)),
        ({"data": {"sidecars.json": "-1"}}, Content(None, None, None)),
        ({"data": {"sidecars.json": "9" * 5000}}, Content(None, None, None)),
        ({"data": {"sidecars.json": "4"}}, Content(None, None, 4)),
        ({"data": {"config.json": ""}}, Content(b"", None, None)),
    ],
)
def test_what_somebody_spoiled_counts_as_absent(members: Raw, content: Content) -> None:
    assert manifests.read(_ours(**members)).content == content


@pytest.mark.parametrize("coded", ["%%%", _b64(b"\xff"), None])
def test_a_credential_that_cannot_be_read_counts_as_absent_and_goes(coded: str | None) -> None:
    found = manifests.read(_ours("Secret", data={"credential.a": coded, "credential.b": _b64(b"x")}))
    assert found.credentials == {"b": "x"}
    assert found.strange == (("data", "credential.a"),)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-11-26T12:00:00Z", NOW),
        ("2026-11-26T12:00:00", None),
        ("2026-11-26", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_a_time_that_we_did_not_write_counts_as_absent(text: str | None, written: datetime | None) -> None:
    obj = _ours()
    if text is not None:
        obj["metadata"]["annotations"]["modelpool.dev/written"] = text
    assert manifests.read(obj).written == written


def test_keys_that_nobody_of_us_wrote_are_found_and_the_patch_takes_them_out() -> None:
    config_map = _ours(
        data={"config.json": "{}", "sidecars.json": "1", "note": "x"}, binaryData={"accepted.json.gz": "", "b": ""}
    )
    found = manifests.read(config_map)
    assert found.strange == (("data", "note"), ("binaryData", "b"))
    assert manifests.removal(found.strange) == {"data": {"note": None}, "binaryData": {"b": None}}
    found = manifests.read(_ours("Secret", data={"credential.a": "", "a": "", "other": ""}))
    assert found.strange == (("data", "a"), ("data", "other"))
    assert manifests.removal(()) == {}


def test_a_gzip_bomb_does_not_fill_our_memory() -> None:
    packer = zlib.compressobj(9, wbits=31)
    zeros = b"0" * (1 << 20)
    most = codec.MAX_DECODED_BYTES >> 20
    bomb = b"".join(packer.compress(zeros) for _ in range(most + 1)) + packer.flush()
    assert manifests.read(_ours(binaryData={"config.json.gz": _b64(bomb)})).content.config is None
    assert manifests.unpack(bomb, NAMESPACE) == {}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds)
def test_accepted_forms_are_kept_and_come_back_as_they_were(raw: list[Raw]) -> None:
    accepted = world(*raw).compiled.result.accepted
    packed = manifests.pack(accepted)
    back = manifests.unpack(packed, NAMESPACE)
    assert back == accepted
    assert manifests.pack(back) == packed
    assert manifests.pack(dict(reversed(accepted.items()))) == packed


def test_accepted_forms_keep_their_age_and_nothing_that_users_note_on_them() -> None:
    manifest = pool()
    manifest["metadata"] |= {
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {"note": "x"},
        "labels": {"a": "b"},
    }
    accepted = world(provider(), manifest).compiled.result.accepted
    packed = manifests.pack(accepted)
    back = manifests.unpack(packed, NAMESPACE)["ModelPool", NAMESPACE, "chat"]
    assert back.metadata.creation_timestamp == datetime(2026, 1, 1, tzinfo=UTC)
    assert (back.metadata.annotations, back.metadata.labels) == (None, None)
    assert b"note" not in gzip.decompress(packed)


def test_no_value_of_a_secret_is_kept_with_the_accepted_forms() -> None:
    accepted = world(provider(auth=keyed()), pool(), secret(api_key=VALUE)).compiled.result.accepted
    assert VALUE.encode() not in gzip.decompress(manifests.pack(accepted))


@pytest.mark.parametrize(
    ("config", "accepted", "kept"),
    [(10, 10, True), (200 * 1024, 100 * 1024, True), (200 * 1024, 900 * 1024, False), (10, 1024 * 1024, False)],
)
def test_accepted_forms_that_leave_no_room_for_the_config_are_left_out(config: int, accepted: int, kept: bool) -> None:
    content = Content(b" " * config, b"\0" * accepted, 3)
    fitted = manifests.fitted(content)
    assert fitted.config == content.config
    assert (fitted == content) is kept
    assert kept or manifests.unpack(fitted.accepted, NAMESPACE) == {}
    assert manifests.size_bytes(manifests.config_map("shop", OWN, fitted, NOW)) <= manifests.LIMIT_BYTES


def test_the_time_of_a_config_counts_only_where_it_can_be() -> None:
    found = manifests.read(_stored(manifests.config_map("shop", OWN, SMALL, NOW)))
    assert found.since(NOW) == NOW
    assert found.since(NOW + timedelta(days=9)) == NOW
    assert found.since(NOW - timedelta(days=9)) is None
    assert manifests.read(_ours()).since(NOW) is None


def _packed(*raw: object) -> bytes:
    return codec.compress(json.dumps(list(raw)).encode())


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"junk",
        codec.compress(b"{"),
        codec.compress(b"{}"),
        codec.compress(b"[1, null, {}]"),
        codec.compress(b"[" * 200_000),
        codec.compress(b"\xff"),
        _packed(provider(dialect="Forgotten")),
        _packed(provider(auth=keyed(), baseURL="http://api.example.com/v1")),
        _packed(pool(models=[{"name": "a*b"}])),
        _packed(provider(namespace="elsewhere")),
    ],
)
def test_what_this_version_would_not_accept_is_left_out(data: bytes | None) -> None:
    assert manifests.unpack(data, NAMESPACE) == {}


def test_one_form_that_is_left_out_takes_no_other_with_it() -> None:
    assert set(manifests.unpack(_packed(provider(dialect="Forgotten"), pool()), NAMESPACE)) == {
        ("ModelPool", NAMESPACE, "chat")
    }
