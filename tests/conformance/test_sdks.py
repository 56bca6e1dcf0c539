"""SDKs as a person would use them, with their own retries and timeouts, through faults (B17, B21, B25, B26, B42).

openai for Python, sync and async; langchain-openai; the npm packages openai and ai. Each asks for every scene of
`sdk_house`, streamed and not, all at once: the right class of error, no text twice, none that is missing unnoticed,
nothing hangs, and no provider is asked more often than is bearable. A model that thinks
for 400 s, to scale, keeps its stream by comments, also with node, which waits 300 s for a head (B24, B33).
"""

import asyncio
import importlib.util
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import sdk_house
import sdk_packages
from conformance.pace import Pace
from one_builder import CannotBuildError
from sdk_house import SCENES, TEXT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sdks")]

SCRIPT = Path(sdk_packages.SOURCES) / "sdks.py"
HALF = TEXT["primary"].partition("four")[0]
ROUNDS = 4
"""A deadline that is missed because the machine stood still says nothing: then all is asked again, so often at most."""
SDKS = ("openai_sync", "openai_async", "langchain", "openai", "ai")

WHOLE = {
    **dict.fromkeys(("well", "thinks"), "primary"),
    **dict.fromkeys(("failed", "refused", "garbled", "cut", "reset", "stalled", "quiet-end", "replayed"), "backup"),
}
STREAMED = {
    **dict.fromkeys(("well", "replayed", "thinks"), "primary"),
    **dict.fromkeys(("failed", "refused", "garbled"), "backup"),
}
BROKEN = {
    **dict.fromkeys(("cut", "reset", "quiet-end"), "upstream_error"),
    "stalled": "upstream_timeout",
}
REFUSED = {
    "down": ("InternalServerError", 500, "server_error"),
    "busy": ("InternalServerError", 529, "overloaded_error"),
    "silent": ("InternalServerError", 504, "deadline_exceeded"),
    "limited": ("RateLimitError", 429, "all_limited"),
    "denied": ("InternalServerError", 502, "upstream_auth_error"),
    "long": ("BadRequestError", 400, "context_length_exceeded"),
    "nobody": ("NotFoundError", 404, "model_not_found"),
}


def program(sdk: str) -> list[str]:
    """What runs it; where that is not here the test is left out, in CI it fails."""
    try:
        if sdk in ("openai", "ai"):
            return sdk_packages.program(say=lambda _line: None)
        if sdk == "langchain" and importlib.util.find_spec("langchain_openai") is None:
            raise CannotBuildError("langchain-openai is not here: requirements/dev.txt has it")
    except CannotBuildError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    return [sys.executable, str(SCRIPT)]


def classes(told: dict[str, Any]) -> set[str]:
    return {error["class"] for error in told["errors"]}


def facts(told: dict[str, Any]) -> set[tuple[int | None, str | None]]:
    return {(error["status"], error["code"]) for error in told["errors"]}


@pytest.mark.parametrize("sdk", SDKS)
async def test_an_sdk_gets_the_whole_answer_or_the_right_error(sdk: str) -> None:
    started, pace, loop = program(sdk), Pace(), asyncio.get_running_loop()
    try:
        for _ in range(ROUNDS):
            began = loop.time()
            wrong = await _wrong(sdk, started)
            if wrong is None or not pace.stood_still(began):
                break
    finally:
        await pace.close()
    if wrong is not None:
        raise wrong


async def _wrong(sdk: str, started: list[str]) -> AssertionError | None:
    """What does not hold in one round of all scenes."""
    try:
        await _round(sdk, started)
    except AssertionError as error:
        return error
    return None


async def _round(sdk: str, started: list[str]) -> None:
    async with sdk_house.sdk_house() as held:
        told = await sdk_house.asked(held, started, sdk)
        asked = Counter((provider.name, ask.model) for provider in held.providers.values() for ask in provider.asks)
        assert not await held.settled()

    for name in (*SCENES, "nobody"):
        for stream, answers in ((False, WHOLE), (True, STREAMED)):
            if name == "thinks" and not stream and sdk == "openai":
                continue  # nothing can be sent before a whole answer: node gives up
            one = told[f"+{name}" if stream else name]
            if name in answers:
                assert (one["text"], one["finish"], one["errors"]) == (TEXT[answers[name]], "stop", []), one
            elif name in REFUSED:
                _is_refused(sdk, one, *REFUSED[name])
            elif name != "reset" or (one["text"], one["errors"]) != (TEXT["backup"], []):
                _is_broken(
                    sdk, one, BROKEN[name]
                )  # a reset may overtake all that came, and then another target answers
    # `ai` does not read x-should-retry: it repeats what the sidecar has given up, twice
    assert max(asked.values()) <= (6 if sdk == "ai" else 2), asked


def _is_refused(sdk: str, one: dict[str, Any], kind: str, status: int, code: str) -> None:
    assert not one["text"]
    assert ("APICallError" if sdk == "ai" else kind) in classes(one), one
    assert (status, code) in facts(one), one


def _is_broken(sdk: str, one: dict[str, Any], code: str) -> None:
    """What came before the fault came once, and the fault is raised, not swallowed."""
    assert HALF.startswith(one["text"]), one
    assert one["errors"], one
    if sdk != "ai":  # its reader drops the event that tells of it when the connection ends, and raises that instead
        assert one["text"] == HALF
        assert "APIError" in classes(one), one
        assert code in {found for _, found in facts(one)}, one


def test_every_scene_has_what_is_expected_of_it() -> None:
    assert set(WHOLE) | set(REFUSED) == {*SCENES, "nobody"}
    assert set(STREAMED) | set(BROKEN) | set(REFUSED) == {*SCENES, "nobody"}


def test_without_node_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CannotBuildError, match="node"):
        sdk_packages.program(lambda _line: None, {"PATH": str(tmp_path)})
