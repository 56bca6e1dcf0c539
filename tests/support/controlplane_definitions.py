"""How a test waits until a control plane serves definitions, and how it takes them away again."""

import itertools
import time
from collections.abc import Iterable

from controlplane import ControlPlane

POKE_SECONDS = 2.0
PATIENCE_SECONDS = 150.0
ESTABLISHED_SECONDS = 60.0


def established(plane: ControlPlane, names: Iterable[str]) -> None:
    """Wait until these definitions are served. AssertionError, with what was said last, after ESTABLISHED_SECONDS.

    Asked again and again: `kubectl wait` gives up at once where a definition is so new that it has no conditions yet.
    """
    wait = ["wait", "--for=condition=Established", "--timeout=20s", *(f"crd/{name}" for name in names)]
    deadline = time.monotonic() + ESTABLISHED_SECONDS
    while (waited := plane.kubectl(*wait)).code:
        assert time.monotonic() < deadline, waited.stderr
        time.sleep(0.05)


def forget(plane: ControlPlane, names: Iterable[str]) -> None:
    """Delete these definitions, and wait until they are gone.

    The API server clears a definition's objects away before the definition goes. Where that fails, as it does while the
    definition's storage is only being set up, it tries again ever later, up to minutes; a change of the definition lets
    it try at once. AssertionError, with what is left, after PATIENCE_SECONDS.
    """
    wanted = list(names)
    plane.kubectl("delete", "crd", "--ignore-not-found", "--wait=false", *wanted).ok()
    deadline, poke = time.monotonic() + PATIENCE_SECONDS, time.monotonic() + POKE_SECONDS
    for count in itertools.count(1):
        left = plane.kubectl("get", "crd", "--ignore-not-found", "-o", "name", *wanted).ok().stdout.split()
        if not left:
            return
        now = time.monotonic()
        assert now < deadline, plane.kubectl("get", *left, "-o", "jsonpath={.items[*].status.conditions}").stdout
        if now > poke:
            poke = now + POKE_SECONDS
            plane.kubectl("annotate", "--overwrite", *left, f"test/asked-again={count}")  # it may be gone by now
        time.sleep(0.05)
