"""What is mounted, and whether it has changed: as the kubelet swaps it, and as people edit it."""

import os
import shutil
from pathlib import Path

import pytest

from modelpool_config import codec
from modelpool_config.codec import InvalidConfigError
from modelpool_config.models import ClosedPool, Config
from modelpool_sidecar import reload
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


@pytest.mark.parametrize("change", [{"credentials__k": b"2"}, {"credentials__l": b"1"}, {"sidecars_json": b"7"}])
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


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"config_json": b""}, "config.json: the config is empty"),
        ({"config_json": b"{"}, "config.json: the config is not JSON"),
        ({"config_json": b'{"schemaVersion": "2.0"}'}, "config.json: schemaVersion 2.0 is not readable here"),
        ({"other_json": b"{}"}, "there is no config.json or config.json.gz"),
        ({"config_json": codec.encode(config("b")), "sidecars_json": b"many"}, "sidecars.json: it must hold the num"),
        ({"config_json": codec.encode(config("b")), "sidecars_json": b"true"}, "sidecars.json: it must hold the num"),
        ({"config_json": codec.encode(config("b")), "sidecars_json": b"-1"}, "sidecars.json: it must hold the num"),
    ],
)
def test_what_is_invalid_is_told_once_and_the_next_good_one_is_taken(
    kubelet: Kubelet, files: dict[str, bytes], sentence: str
) -> None:
    kubelet.write(config_json=codec.encode(config("a")))
    mount = Mount(kubelet.root)
    assert mount.poll(0.0) is not None
    kubelet.write(**files)
    with pytest.raises(InvalidConfigError, match=sentence):
        mount.poll(1.0)
    assert mount.poll(2.0) is None
    kubelet.write(**files)
    assert mount.poll(3.0) is None
    kubelet.write(config_json=codec.encode(config("c")))
    loaded = mount.poll(4.0)
    assert loaded is not None
    assert loaded.config == config("c")


def test_back_to_the_last_good_one_is_nothing(kubelet: Kubelet) -> None:
    kubelet.write(config_json=codec.encode(config("a")))
    mount = Mount(kubelet.root)
    mount.poll(0.0)
    kubelet.write(config_json=b"")
    with pytest.raises(InvalidConfigError):
        mount.poll(1.0)
    kubelet.write(config_json=codec.encode(config("a")))
    assert mount.poll(2.0) is None


def test_zero_sidecars_count_as_one(kubelet: Kubelet) -> None:
    kubelet.write(config_json=codec.encode(config("a")), sidecars_json=b"0")
    loaded = Mount(kubelet.root).poll(0.0)
    assert loaded is not None
    assert loaded.sidecars == 1


def test_an_absent_directory_is_invalid_until_it_is_there(tmp_path: Path) -> None:
    root = tmp_path / "later"
    mount = Mount(root)
    with pytest.raises(InvalidConfigError, match=r"there is no config\.json"):
        mount.poll(0.0)
    assert mount.poll(1.0) is None
    root.mkdir()
    (root / "config.json").write_bytes(codec.encode(config("a")))
    assert mount.poll(2.0) is not None


def test_what_may_not_be_read_is_invalid(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(InvalidConfigError, match="it cannot be read: Is a directory"):
        Mount(tmp_path).poll(0.0)


def test_a_volume_that_is_swapped_while_it_is_read_is_read_again(kubelet: Kubelet) -> None:
    kubelet.write(config_json=codec.encode(config("a")), credentials__k=b"of a")
    mount = _SwappingMount(kubelet, swaps=1)
    loaded = mount.poll(0.0)
    assert loaded is not None
    assert (loaded.config, loaded.credentials) == (config("swap1"), {"k": "of swap1"})


def test_but_not_for_ever(kubelet: Kubelet) -> None:
    kubelet.write(config_json=codec.encode(config("a")))
    with pytest.raises(InvalidConfigError, match="changes faster than it can be read"):
        _SwappingMount(kubelet, swaps=99).poll(0.0)


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


def test_a_new_key_beside_them_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(codec.encode(config("a")))
    mount = Mount(tmp_path)
    mount.poll(0.0)
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "k").write_bytes(b"1")
    loaded = mount.poll(1.0)
    assert loaded is not None
    assert loaded.credentials == {"k": "1"}
    (tmp_path / "credentials" / "k").unlink()
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
    assert repr(Mount(tmp_path)) == f"<Mount {tmp_path}: nothing valid yet>"


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
        reload.merge([("1.json", config("a")), ("2.json", other)])


def test_files_of_two_namespaces_are_invalid() -> None:
    with pytest.raises(InvalidConfigError, match=r"1\.json and 2\.json differ in schemaVersion or namespace"):
        reload.merge([("1.json", config("a")), ("2.json", config("b", namespace="other"))])
