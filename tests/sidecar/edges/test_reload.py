"""What is mounted, and whether it has changed: as the kubelet swaps it, and as people edit it."""

import os
import shutil
from pathlib import Path

import pytest

from modelpool_config import codec
from modelpool_config.codec import InvalidConfigError
from modelpool_config.models import ClosedPool, Config
from modelpool_sidecar import configfiles
from modelpool_sidecar.reload import Mount


def config(*names: str, namespace: str = "default") -> Config:
    """A valid config with these (closed) pools."""
    closed = tuple(ClosedPool(name=name, models=(name,), code="no_target", message="none") for name in sorted(names))
    return Config(schema_version="1.0", namespace=namespace, providers=(), pools=(), closed=closed)


class Kubelet:
    """Fills a projected volume the way the kubelet does: a new directory, then one rename of the link to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.version = 0

    def write(self, **files: bytes) -> None:
        """`a__b` stands for the path `a/b`, a trailing `_json` for `.json`."""
        self.version += 1
        directory = self.root / f"..2026_11_21_04_00_{self.version:02}.1"
        for name, data in files.items():
            path = directory / name.replace("__", "/").replace("_json", ".json").replace("_gz", ".gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        temporary = self.root / "..data_tmp"
        temporary.symlink_to(directory.name)
        old = (self.root / "..data").readlink() if self.version > 1 else None
        temporary.rename(self.root / "..data")
        for top in directory.iterdir():
            link = self.root / top.name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / top.name)
        if old is not None:
            shutil.rmtree(self.root / old)


@pytest.fixture
def kubelet(tmp_path: Path) -> Kubelet:
    return Kubelet(tmp_path)


def test_the_first_poll_reads_config_keys_and_the_number_of_sidecars(kubelet: Kubelet) -> None:
    wanted = config("chat")
    kubelet.write(config_json=codec.encode(wanted), sidecars_json=b"3\n", credentials__openai=b"sk-1\n")
    loaded = Mount(kubelet.root).poll(0.0)
    assert loaded is not None
    assert (loaded.config, loaded.sidecars, loaded.credentials) == (wanted, 3, {"openai": "sk-1"})
    assert loaded.digest == codec.config_digest(wanted)
    assert "sk-1" not in repr(loaded)


def test_gzipped_is_as_good_as_plain(kubelet: Kubelet) -> None:
    kubelet.write(config_json_gz=codec.compress(codec.encode(config("chat"))))
    loaded = Mount(kubelet.root).poll(0.0)
    assert loaded is not None
    assert (loaded.config, loaded.sidecars, loaded.credentials) == (config("chat"), 1, {})
    assert not loaded.problems


def test_a_swap_is_seen_at_the_next_poll_and_only_once(kubelet: Kubelet) -> None:
    kubelet.write(config_json=codec.encode(config("a")))
    mount = Mount(kubelet.root)
    assert mount.poll(0.0) is not None
    assert mount.poll(1.0) is None
    kubelet.write(config_json=codec.encode(config("b")))
    loaded = mount.poll(2.0)
    assert loaded is not None
    assert loaded.config == config("b")
    assert mount.poll(3.0) is None
    assert mount.poll(99.0) is None


def test_a_swap_to_the_same_is_nothing(kubelet: Kubelet) -> None:
    files = {"config_json": codec.encode(config("a")), "credentials__k": b"1"}
    kubelet.write(**files)
    mount = Mount(kubelet.root)
    assert mount.poll(0.0) is not None
    kubelet.write(**files)
    assert mount.poll(1.0) is None


@pytest.mark.parametrize(
    "change",
    [{"credentials__k": b"2"}, {"credentials__l": b"1"}, {"credential.l": b"1"}, {"sidecars_json": b"7"}],
)
def test_new_keys_or_sidecars_are_told_under_the_same_digest(kubelet: Kubelet, change: dict[str, bytes]) -> None:
    files = {"config_json": codec.encode(config("a")), "credentials__k": b"1"}
    kubelet.write(**files)
    mount = Mount(kubelet.root)
    first = mount.poll(0.0)
    kubelet.write(**{**files, **change})
    second = mount.poll(1.0)
    assert first is not None
    assert second is not None
    assert first.digest == second.digest
    assert first != second


REFUSED = [
    ({"config_json": b""}, "config.json: the config is empty"),
    ({"config_json": b"{"}, "config.json: the config is not JSON"),
    ({"config_json": b'{"schemaVersion": "2.0"}'}, "config.json: schemaVersion 2.0 is not readable here"),
    ({"other_json": b"{}"}, "there is no config.json or config.json.gz"),
]


@pytest.mark.parametrize(("files", "sentence"), REFUSED)
def test_what_is_invalid_is_told_once_and_the_next_good_one_is_taken(
    kubelet: Kubelet, files: dict[str, bytes], sentence: str
) -> None:
    kubelet.write(config_json=codec.encode(config("a")))
    mount = Mount(kubelet.root)
    assert mount.poll(0.0) is not None
    kubelet.write(**files)
    told = mount.poll(1.0)
    assert told is not None
    assert told.config is None
    assert [problem.what for problem in told.problems] == ["config"]
    assert told.problems[0].reason.startswith(sentence)
    assert mount.poll(2.0) is None
    kubelet.write(**files)
    assert mount.poll(3.0) is None
    kubelet.write(config_json=codec.encode(config("c")))
    loaded = mount.poll(4.0)
    assert loaded is not None
    assert (loaded.config, loaded.problems) == (config("c"), ())


@pytest.mark.parametrize("files", [files for files, _ in REFUSED])
def test_where_the_config_is_refused_keys_and_the_number_of_sidecars_are_read_all_the_same(
    kubelet: Kubelet, files: dict[str, bytes]
) -> None:
    kubelet.write(config_json=codec.encode(config("a")), credentials__k=b"1")
    mount = Mount(kubelet.root)
    mount.poll(0.0)
    kubelet.write(**files, credentials__k=b"2", sidecars_json=b"5")
    first = mount.poll(1.0)
    kubelet.write(**files, credentials__k=b"3", sidecars_json=b"6")
    second = mount.poll(2.0)
    assert first is not None
    assert second is not None
    assert [(each.config, each.credentials, each.sidecars) for each in (first, second)] == [
        (None, {"k": "2"}, 5),
        (None, {"k": "3"}, 6),
    ]
    assert first.problems == second.problems


def test_other_bytes_are_another_problem_also_for_the_same_reason(kubelet: Kubelet) -> None:
    kubelet.write(config_json=b'{"schemaVersion": "2.0"}')
    mount = Mount(kubelet.root)
    first = mount.poll(0.0)
    kubelet.write(config_json=b'{"schemaVersion": "2.0", "pools": []}')
    second = mount.poll(1.0)
    assert first is not None
    assert second is not None
    assert first.problems[0].reason == second.problems[0].reason
    assert first.problems != second.problems


@pytest.mark.parametrize("raw", [b"many", b"true", b"-1", b"1.5", b"", b"[" * 100_000])
def test_a_number_of_sidecars_that_is_none_leaves_it_as_it_was_and_stops_nothing_else(
    kubelet: Kubelet, raw: bytes
) -> None:
    kubelet.write(config_json=codec.encode(config("a")), sidecars_json=b"4")
    mount = Mount(kubelet.root)
    mount.poll(0.0)
    kubelet.write(config_json=codec.encode(config("b")), sidecars_json=raw, credentials__k=b"1")
    loaded = mount.poll(1.0)
    assert loaded is not None
    assert (loaded.config, loaded.sidecars, loaded.credentials) == (config("b"), 4, {"k": "1"})
    (problem,) = loaded.problems
    assert (problem.what, problem.reason) == ("sidecars", "sidecars.json: it must hold the number of sidecars, like 3")


def test_back_to_the_last_good_one_is_told_too(kubelet: Kubelet) -> None:
    kubelet.write(config_json=codec.encode(config("a")))
    mount = Mount(kubelet.root)
    first = mount.poll(0.0)
    kubelet.write(config_json=b"")
    assert mount.poll(1.0) is not None
    kubelet.write(config_json=codec.encode(config("a")))
    assert mount.poll(2.0) == first


def test_zero_sidecars_count_as_one(kubelet: Kubelet) -> None:
    kubelet.write(config_json=codec.encode(config("a")), sidecars_json=b"0")
    loaded = Mount(kubelet.root).poll(0.0)
    assert loaded is not None
    assert loaded.sidecars == 1


def test_an_absent_directory_is_invalid_until_it_is_there(tmp_path: Path) -> None:
    root = tmp_path / "later"
    mount = Mount(root)
    loaded = mount.poll(0.0)
    assert loaded is not None
    assert [problem.reason for problem in loaded.problems] == ["there is no config.json or config.json.gz"]
    assert mount.poll(1.0) is None
    root.mkdir()
    (root / "config.json").write_bytes(codec.encode(config("a")))
    loaded = mount.poll(2.0)
    assert loaded is not None
    assert loaded.config == config("a")


@pytest.mark.parametrize("name", ["config.json", "config-2.json.gz"])
def test_a_config_that_may_not_be_read_is_named_and_read_as_soon_as_it_may(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "k").write_bytes(b"1")
    mount = Mount(tmp_path)
    loaded = mount.poll(0.0)
    assert loaded is not None
    assert (loaded.config, loaded.credentials) == (None, {"k": "1"})
    assert [problem.reason for problem in loaded.problems] == [f"{name}: it cannot be read: Is a directory"]
    assert mount.poll(1.0) is None
    (tmp_path / name).rmdir()
    (tmp_path / "config.json").write_bytes(codec.encode(config("a")))
    loaded = mount.poll(2.0)
    assert loaded is not None
    assert loaded.config == config("a")


def test_a_mount_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    loaded = Mount(tmp_path / "file").poll(0.0)
    assert loaded is not None
    assert loaded.problems[0].reason == "the directory cannot be read: Not a directory"


def test_a_key_that_cannot_be_read_is_left_out_alone_and_read_as_soon_as_it_can_be(kubelet: Kubelet) -> None:
    """Nothing tells when it can: the volume is the same, and so is the signature of plain files."""
    outside = kubelet.root / ".outside"
    kubelet.write(config_json=codec.encode(config("a")), credentials__good=b"1", sidecars_json=b"2")
    (kubelet.root / "..data" / "credentials" / "bad").symlink_to(outside)
    mount = Mount(kubelet.root)
    loaded = mount.poll(0.0)
    assert loaded is not None
    assert (loaded.config, loaded.credentials, loaded.sidecars) == (config("a"), {"good": "1"}, 2)
    (problem,) = loaded.problems
    assert problem.what == "credentials"
    assert problem.reason == "credential bad is left out: it cannot be read: No such file or directory"
    assert mount.poll(1.0) is None
    outside.write_bytes(b"3")
    loaded = mount.poll(2.0)
    assert loaded is not None
    assert (loaded.credentials, loaded.problems) == ({"good": "1", "bad": "3"}, ())


def test_what_cannot_be_read_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(codec.encode(config("a")))
    (tmp_path / "sidecars.json").write_bytes(b"3")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "k").write_bytes(b"1")
    mount = Mount(tmp_path)
    first = mount.poll(0.0)
    (tmp_path / "sidecars.json").unlink()
    (tmp_path / "sidecars.json").mkdir()
    (tmp_path / "credentials").rename(tmp_path / "moved")
    (tmp_path / "credentials").symlink_to("credentials")  # a link to itself can be listed by nobody
    loaded = mount.poll(1.0)
    assert first is not None
    assert loaded is not None
    assert (loaded.config, loaded.sidecars, loaded.credentials) == (first.config, 3, {"k": "1"})
    assert [(problem.what, problem.reason) for problem in loaded.problems] == [
        ("sidecars", "sidecars.json: it cannot be read: Is a directory"),
        ("credentials", "the keys stay as they are: they cannot be listed: Too many levels of symbolic links"),
    ]


def test_a_volume_that_is_swapped_while_it_is_read_is_read_again(kubelet: Kubelet) -> None:
    kubelet.write(config_json=codec.encode(config("a")), credentials__k=b"of a")
    mount = _SwappingMount(kubelet, swaps=1)
    loaded = mount.poll(0.0)
    assert loaded is not None
    assert (loaded.config, loaded.credentials) == (config("swap1"), {"k": "of swap1"})


def test_but_not_for_ever(kubelet: Kubelet) -> None:
    kubelet.write(config_json=codec.encode(config("a")))
    mount = _SwappingMount(kubelet, swaps=5)
    loaded = mount.poll(0.0)
    assert loaded is not None
    assert [problem.reason for problem in loaded.problems] == ["the mounted volume changes faster than it can be read"]
    calm = mount.poll(1.0)
    assert calm is not None
    assert (calm.config is not None, calm.problems) == (True, ())


class _SwappingMount(Mount):
    """The volume is swapped between finding its version and reading from it."""

    def __init__(self, kubelet: Kubelet, swaps: int) -> None:
        super().__init__(kubelet.root)
        self._kubelet, self._swaps = kubelet, swaps
        self._asked = 0

    def _version(self) -> str:
        version = super()._version()
        self._asked += 1
        if self._swaps > 0 and self._asked % 2 == 1:
            self._swaps -= 1
            name = f"swap{self._asked}"
            self._kubelet.write(config_json=codec.encode(config(name)), credentials__k=f"of {name}".encode())
        return version


# -- plain files


def test_plain_files_are_watched_too(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(codec.encode(config("a")))
    mount = Mount(tmp_path)
    assert mount.poll(0.0) is not None
    assert mount.poll(0.5) is None
    path.write_bytes(codec.encode(config("a", "b")))
    loaded = mount.poll(1.0)
    assert loaded is not None
    assert loaded.config == config("a", "b")


@pytest.mark.parametrize("key", ["credentials/k", "credential.k"])
def test_a_new_key_beside_them_too(tmp_path: Path, key: str) -> None:
    (tmp_path / "config.json").write_bytes(codec.encode(config("a")))
    mount = Mount(tmp_path)
    mount.poll(0.0)
    (tmp_path / key).parent.mkdir(exist_ok=True)
    (tmp_path / key).write_bytes(b"1")
    loaded = mount.poll(1.0)
    assert loaded is not None
    assert loaded.credentials == {"k": "1"}
    (tmp_path / key).unlink()
    loaded = mount.poll(2.0)
    assert loaded is not None
    assert loaded.credentials == {}


def test_an_edit_within_one_tick_of_the_file_systems_clock_is_seen_a_moment_later(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(codec.encode(config("a")))
    status = path.stat()
    mount = Mount(tmp_path)
    assert mount.poll(0.0) is not None
    path.write_bytes(codec.encode(config("b")))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert mount.poll(0.5) is None
    loaded = mount.poll(1.0)
    assert loaded is not None
    assert loaded.config == config("b")
    assert mount.poll(2.5) is None


def test_plain_files_that_become_a_volume_are_one(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(codec.encode(config("a")))
    mount = Mount(tmp_path)
    mount.poll(0.0)
    path.unlink()
    Kubelet(tmp_path).write(config_json=codec.encode(config("b")))
    loaded = mount.poll(1.0)
    assert loaded is not None
    assert loaded.config == config("b")
    assert repr(mount) == f"<Mount {tmp_path}: {loaded.digest[7:19]}>"
    assert repr(Mount(tmp_path)) == f"<Mount {tmp_path}: nothing valid>"


# -- several files


def test_several_files_are_one_config(kubelet: Kubelet) -> None:
    kubelet.write(
        **{
            "config-1_json": codec.encode(config("a", "c")),
            "config-2_json_gz": codec.compress(codec.encode(config("b", "c"))),
        }
    )
    loaded = Mount(kubelet.root).poll(0.0)
    assert loaded is not None
    assert loaded.config == config("a", "b", "c")


def test_what_stands_in_two_files_differently_is_invalid() -> None:
    other = config("a").model_copy(
        update={"closed": (ClosedPool(name="a", models=("x",), code="no_target", message="else"),)}
    )
    with pytest.raises(InvalidConfigError, match=r"closed pool a stands in 1\.json and, differently, in 2\.json"):
        configfiles.merge([("1.json", config("a")), ("2.json", other)])


def test_files_of_two_namespaces_are_invalid() -> None:
    with pytest.raises(InvalidConfigError, match=r"1\.json and 2\.json differ in schemaVersion or namespace"):
        configfiles.merge([("1.json", config("a")), ("2.json", config("b", namespace="other"))])
