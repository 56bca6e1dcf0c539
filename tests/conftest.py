"""The real control planes that tests may ask for; their programs are built before the first test, in sight. And what
holds for every test: laws have no time limit, and a leak is told in the file that leaks.
"""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import browser
import controlplane_build
from controlplane import ControlPlane
from controlplane_build import MODULES
from controlplane_definitions import established
from controlplane_running import running
from one_builder import CannotBuildError

# A machine that stands still must fail no law. In CI the examples are the same each time: there hypothesis has its own
# profile, which this one begins with.
settings.register_profile(
    "modelpool", settings.default, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("modelpool")

CRDS = Path(__file__).parents[1] / "deploy" / "crds"
NEEDS = {
    "controlplane": ("certificates", "v1.35", "helm"),
    "own_controlplane": ("certificates", "v1.35", "helm"),
    "namespace": ("certificates", "v1.35", "helm"),
    "applied_crds": ("certificates", "v1.35", "helm", "v1.29"),
}
"""The fixtures, and the modules that each needs."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """What needs a control plane is slow, and stays with one worker (`--dist loadgroup`) unless it says otherwise."""
    if NEEDS.keys() & set(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("controlplane"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the chosen tests need here, where no test's time limit runs and the terminal shows it."""
    _find_browser(session)
    asked = {name for item in session.items for name in getattr(item, "fixturenames", ()) if name in NEEDS}
    if not asked or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"control plane: {line}\n")

    try:
        names = {module for name in asked for module in NEEDS[name]}
        controlplane_build.programs([each for name, each in MODULES.items() if name in names], say=say)
    except CannotBuildError as error:
        say(str(error))


def _find_browser(session: pytest.Session) -> None:
    """In CI it is installed before the first test; where it cannot be, the tests that need it say so."""
    if session.config.option.collectonly or not any("chromium" in each.fixturenames for each in _functions(session)):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"status page: {line}\n")

    try:
        browser.find(say=say)
    except browser.NoBrowserError as error:
        say(str(error))


def _functions(session: pytest.Session) -> list[pytest.Function]:
    return [item for item in session.items if isinstance(item, pytest.Function)]


@pytest.fixture(scope="module", autouse=True)
def _told_where_it_leaks() -> Iterator[None]:
    """What is collected is told by the test that runs then: after the last one of a file it is that file's."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program of a browser."""
    try:
        return browser.find()
    except browser.NoBrowserError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def controlplane() -> Iterator[ControlPlane]:
    """The control plane that a worker's tests share: keep to namespaces of your own, and leave nothing cluster-wide."""
    yield from running()


@pytest.fixture
def own_controlplane() -> Iterator[ControlPlane]:
    """A control plane for this test alone: for faults, and for what is cluster-wide."""
    yield from running()


@pytest.fixture(scope="session", params=["v1.29", "v1.35"])
def applied_crds(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """Our CRDs on the oldest API server that is supported and on the newest, each applied in one of the two ways."""
    api: str = request.param
    for plane in running(api, controllers=False):
        way = ["--server-side"] if api == "v1.35" else []
        plane.kubectl("apply", *way, "-f", str(CRDS)).ok()
        established(plane, ["providers.modelpool.dev", "modelpools.modelpool.dev"])
        yield plane


@pytest.fixture
def namespace(controlplane: ControlPlane) -> Iterator[str]:
    """A new namespace on the shared control plane, deleted after the test."""
    name = controlplane.namespace()
    yield name
    controlplane.request("DELETE", f"/api/v1/namespaces/{name}")
