"""How a test takes definitions away from a control plane again, so that the next one finds none of them."""

import itertools
import time
from collections.abc import Iterable

from controlplane import ControlPlane

POKE_SECONDS = 2.0
PATIENCE_SECONDS = 150.0


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
