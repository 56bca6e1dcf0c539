"""What the images are made of: the locks, the Dockerfiles' own words, and the key by which they are built again."""

import json
import re
import tomllib
from pathlib import Path

import pytest

import image_build
import image_buildah
from image_build import Built, pins
from one_builder import CannotBuildError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("lock", ["sidecar", "operator", "build"])
def test_the_images_have_the_versions_that_were_tested(lock: str) -> None:
    assert pins(lock).items() <= pins("dev").items()


def test_the_sidecars_lock_holds_no_kubernetes() -> None:
    assert not {"kubernetes", "kopf", "openai", "hatchling"} & pins("sidecar").keys()


def test_the_wheel_is_built_by_the_tool_that_pyproject_names() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert [f"hatchling=={pins('build')['hatchling']}"] == requires


def test_the_dockerfiles_name_no_index_and_no_registry_but_the_base() -> None:
    for name in image_build.IMAGES:
        text = (ROOT / name / "Dockerfile").read_text()
        assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {image_buildah.BASE}
        assert re.findall(r"https?://", text) == []


# -- the key


def test_an_image_is_built_again_only_for_what_is_in_it() -> None:
    sidecar, operator = (set(image_build.IMAGES[name].sources) for name in ("sidecar", "operator"))
    assert ROOT / "sidecar/modelpool_sidecar/app.py" in sidecar - operator
    assert ROOT / "operator/modelpool_operator/desired.py" in operator - sidecar
    shared = {str(path.relative_to(ROOT)) for path in sidecar & operator if "modelpool_config" not in path.parts}
    assert shared == {".dockerignore", "LICENSE", "README.md", "pyproject.toml", "requirements/build.txt"}


def test_without_the_tools_it_says_what_to_install(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(CannotBuildError, match=r"apt-get install buildah debootstrap|only be built.*by root"):
        image_build.images(say=lines.append, environ={"MODELPOOL_TEST_CACHE": str(tmp_path), "PATH": str(tmp_path)})
    assert lines == []
    assert not (tmp_path / "images").exists()


def test_what_is_built_is_taken_from_the_cache(tmp_path: Path) -> None:
    """Also where nothing could be built: no tool is looked for."""
    place = tmp_path / "images" / image_build.IMAGES["sidecar"].key
    place.mkdir(parents=True)
    (place / "image.json").write_text(json.dumps({"config": {"User": "1:2"}, "megabytes": 3}))
    environ = {"MODELPOOL_TEST_CACHE": str(tmp_path), "PATH": ""}
    found = image_build.images(["sidecar"], say=pytest.fail, environ=environ)
    assert found == {"sidecar": Built(place / "root", {"User": "1:2"}, 3)}
