"""Where the programs of a control plane for tests come from: built once by Go from pinned modules.

They lie in a cache outside the tree, under a key of the module's go.mod, go.sum and flags, so a build is done again
only where one of these changes. `python tests/support/controlplane_build.py` builds all that is missing; the tests ask
for the modules that they need.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from one_builder import CannotBuildError, Say, one_builder, prepare

MODULES_DIR = Path(__file__).parents[1] / "controlplane"
FLAGS = ("-trimpath", "-buildvcs=false")
_STRIPPED = "-s -w"


def _versioned(version: str) -> str:
    """The linker's flags by which a program of Kubernetes knows its version."""
    major, minor, _ = version.removeprefix("v").split(".")
    variables = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    return " ".join([_STRIPPED, *(f"-X {name}={value}" for name, value in variables.items())])


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module, and the packages of it that become programs, by the program's name."""

    folder: Path
    packages: Mapping[str, str]
    ldflags: str = _STRIPPED
    assets: bool = False
    """Whether KUBEBUILDER_ASSETS may hold its programs instead."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def key(self) -> str:
        """Changes with everything that changes the programs."""
        digest = hashlib.sha256()
        sources = [self.folder / "go.mod", self.folder / "go.sum", *sorted(self.folder.glob("*.go"))]
        for content in [path.read_bytes() for path in sources if path.exists()]:
            digest.update(b"%d:%b" % (len(content), content))
        digest.update(repr((FLAGS, self.ldflags, sys.platform, platform.machine())).encode())
        return f"{self.name}-{digest.hexdigest()[:16]}"


_KUBERNETES = "k8s.io/kubernetes/cmd"
MODULES = {
    module.name: module
    for module in (
        Module(MODULES_DIR / "certificates", {"certificates": "."}),
        Module(
            MODULES_DIR / "v1.35",
            {
                "etcd": "go.etcd.io/etcd/server/v3",
                "kubectl": f"{_KUBERNETES}/kubectl",
                "kube-apiserver": f"{_KUBERNETES}/kube-apiserver",
                "kube-controller-manager": f"{_KUBERNETES}/kube-controller-manager",
            },
            _versioned("v1.35.4"),
            assets=True,
        ),
        Module(MODULES_DIR / "helm", {"helm": "helm.sh/helm/v4/cmd/helm"}, assets=True),
        Module(MODULES_DIR / "v1.29", {"kube-apiserver": f"{_KUBERNETES}/kube-apiserver"}, _versioned("v1.29.15")),
    )
}


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of all that is built; it may be deleted at any time."""
    if ours := environ.get("MODELPOOL_TEST_CACHE"):
        return Path(ours) / "controlplane"
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelpool" / "controlplane"


def programs(
    modules: Iterable[Module] = tuple(MODULES.values()), *, say: Say, environ: Mapping[str, str] = os.environ
) -> dict[str, Path]:
    """The programs of these modules as `module/program`, built where they are missing.

    Raises CannotBuildError.
    """
    wanted = list(modules)
    found = {f"{module.name}/{name}": _place(module, name, environ) for module in wanted for name in module.packages}
    if all(map(_runs, found.values())):
        return found
    with one_builder(cache_dir(environ), "the control plane's programs", say):
        missing = [
            (module, name) for module in wanted for name in module.packages if not _runs(_place(module, name, environ))
        ]
        for number, (module, name) in enumerate(missing, 1):
            say(f"building {name} of {module.name} ({number} of {len(missing)}), once")
            started = time.monotonic()
            _build(module, name, environ)
            say(f"built {name} in {time.monotonic() - started:.0f} s")
    return found


def _place(module: Module, name: str, environ: Mapping[str, str]) -> Path:
    if module.assets and (assets := environ.get("KUBEBUILDER_ASSETS")) and _runs(Path(assets) / name):
        return Path(assets).absolute() / name
    return cache_dir(environ).absolute() / module.key / name


def _runs(program: Path) -> bool:
    return program.is_file() and os.access(program, os.X_OK)


def _build(module: Module, name: str, environ: Mapping[str, str]) -> None:
    go = shutil.which("go", path=environ.get("PATH", ""))
    if go is None:
        raise CannotBuildError(
            f"{name} is missing, and there is no go to build it: install Go 1.26 or later "
            "(https://go.dev/doc/install), or name a folder that has it in KUBEBUILDER_ASSETS"
        )
    place = cache_dir(environ).absolute() / module.key / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=place.parent) as temporary:
        made = Path(temporary) / name
        command = [go, "build", *FLAGS, "-ldflags", module.ldflags, "-o", str(made), module.packages[name]]
        env = {**environ, "CGO_ENABLED": "0", "GOWORK": "off"}
        run = subprocess.run(command, cwd=module.folder, env=env, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise CannotBuildError(f"go could not build {name} in {module.folder}:\n{run.stderr.strip()[-3000:]}")
        made.rename(place)


def _tell(line: str) -> None:
    sys.stderr.write(f"control plane: {line}\n")


def main() -> int:
    """Build what is missing. Without Go: an error in CI, elsewhere a notice; the tests then skip."""
    return prepare(lambda say: programs(say=say), _tell, "the tests against a real API server")


if __name__ == "__main__":
    sys.exit(main())
