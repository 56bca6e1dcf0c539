"""A control plane for as long as tests need it; where its programs cannot be built, they skip, and fail in CI."""

import os
from collections.abc import Iterator

import pytest

from controlplane import ControlPlane
from one_builder import CannotBuildError


def running(api: str = "v1.35", *, controllers: bool = True) -> Iterator[ControlPlane]:
    """One control plane, ended with whoever iterates: `yield from running()` is a fixture."""
    try:
        plane = ControlPlane(api, controllers=controllers)
    except CannotBuildError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    try:
        yield plane
    finally:
        plane.close()
