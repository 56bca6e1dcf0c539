"""The mounted keys: read, rotated, never shown."""

import hashlib
import os
from pathlib import Path

import pytest

from modelpool_sidecar import credentials
from modelpool_sidecar.credentials import PREVIOUS_SECONDS, MountedCredentials


class Watch:
    """Monotonic time by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def folder(mount: Path) -> Path:
    """Where somebody puts credentials by hand."""
    (mount / "credentials").mkdir()
    return mount / "credentials"


def test_a_value_is_what_stands_in_its_file_without_one_trailing_newline(tmp_path: Path) -> None:
    by_hand = folder(tmp_path)
    (by_hand / "plain").write_bytes(b"sk-1")
    (by_hand / "newline").write_bytes(b"sk-2\n")
    (by_hand / "windows").write_bytes(b"sk-3\r\n")
    (by_hand / "spaces").write_bytes(b" sk 4 ")
    (by_hand / "..data").mkdir()
    found = credentials.read(tmp_path)
    assert (found.left_out, found.unreadable) == ({}, False)
    assert found.values == {
        "plain": "sk-1",
        "newline": "sk-2",
        "windows": "sk-3",
        "spaces": " sk 4 ",
    }


@pytest.mark.parametrize("raw", [b"", b"\n", b"a\n\n", b"a\nb", b"a\r", b"a\x00", b"\xff\xfe", b"a\x7f"])
def test_what_cannot_be_a_headers_value_is_left_out_and_only_its_name_is_told(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "credential.bad").write_bytes(raw)
    (tmp_path / "credential.good").write_bytes(b"sk-1")
    found = credentials.read(tmp_path)
    assert (found.values, found.unreadable) == ({"good": "sk-1"}, False)
    assert found.left_out == {"bad": "it is empty, not UTF-8, or has control characters"}


def test_a_file_that_cannot_be_read_is_left_out_alone(tmp_path: Path) -> None:
    (tmp_path / "credential.folder").mkdir()
    (tmp_path / "credential.dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "credential.pipe")
    (tmp_path / "credential.good").write_bytes(b"sk-1")
    found = credentials.read(tmp_path)
    assert (found.values, found.unreadable) == ({"good": "sk-1"}, True)
    assert found.left_out == {
        "dangling": "it cannot be read: No such file or directory",
        "folder": "it cannot be read: it is no file",
        "pipe": "it cannot be read: it is no file",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_left_out_alone(tmp_path: Path) -> None:
    (tmp_path / "credential.closed").write_bytes(b"sk-1")
    (tmp_path / "credential.closed").chmod(0)
    found = credentials.read(tmp_path)
    assert found.left_out == {"closed": "it cannot be read: Permission denied"}


def test_no_directory_has_no_keys(tmp_path: Path) -> None:
    assert credentials.read(tmp_path / "absent").values == {}


def test_the_keys_of_the_projected_secret_lie_beside_the_config_and_are_told_apart_by_their_prefix(
    tmp_path: Path,
) -> None:
    for name in ("config.json", "sidecars.json", "credential.", "credentials.txt", "other"):
        (tmp_path / name).write_bytes(b"{}")
    (tmp_path / "credential.openai-api-key-3f2a").write_bytes(b"sk-1\n")
    (tmp_path / "credential..hidden").write_bytes(b"sk-2")
    assert credentials.read(tmp_path).values == {"openai-api-key-3f2a": "sk-1", ".hidden": "sk-2"}


def test_a_folder_filled_by_hand_adds_to_them_and_replaces_none(tmp_path: Path) -> None:
    (tmp_path / "credential.a").write_bytes(b"projected")
    by_hand = folder(tmp_path)
    (by_hand / "a").write_bytes(b"by hand")
    (by_hand / "b").write_bytes(b"by hand too")
    assert credentials.read(tmp_path).values == {"a": "projected", "b": "by hand too"}


def test_a_digest_is_twelve_hex_digits_of_the_value() -> None:
    keys = MountedCredentials(Watch(), {"a": "sk-1"})
    assert keys.digest("a") == hashlib.sha256(b"sk-1").hexdigest()[:12]
    assert keys.digests() == {"a": keys.digest("a")}
    assert (keys.get("b"), keys.digest("b"), keys.previous("b")) == (None, None, None)


def test_a_value_is_never_in_a_repr(tmp_path: Path) -> None:
    (tmp_path / "credential.openai").write_text("sk-secret")
    found = credentials.read(tmp_path)
    keys = MountedCredentials(Watch(), found.values)
    assert "sk-secret" not in repr(found)
    assert keys.get("openai") == "sk-secret"
    assert repr(keys) == "<MountedCredentials: openai>"
    assert "sk-secret" not in repr(vars(keys))
    assert repr(MountedCredentials(Watch())) == "<MountedCredentials: none>"


def test_after_a_rotation_the_key_before_is_known_for_exactly_ten_minutes() -> None:
    watch = Watch()
    keys = MountedCredentials(watch, {"a": "old", "b": "same"})
    assert keys.previous("a") is None
    keys.replace({"a": "new", "b": "same"})
    assert (keys.get("a"), keys.previous("a"), keys.previous("b")) == ("new", "old", None)
    watch.now += PREVIOUS_SECONDS - 1
    keys.replace({"a": "new", "b": "same"})
    assert keys.previous("a") == "old"
    watch.now += 1
    assert keys.previous("a") is None


def test_a_key_that_is_gone_is_forgotten_with_its_past() -> None:
    keys = MountedCredentials(Watch(), {"a": "old"})
    keys.replace({"a": "new"})
    keys.replace({})
    assert (keys.get("a"), keys.previous("a")) == (None, None)
    keys.replace({"a": "again"})
    assert keys.previous("a") is None


def test_the_digest_of_all_changes_with_any_name_or_value() -> None:
    digests = {
        credentials.digest_of_all(values)
        for values in ({}, {"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "1"}, {"b": "1", "a": "1"})
    }
    assert len(digests) == 5
    assert all(digest.startswith("sha256:") for digest in digests)
