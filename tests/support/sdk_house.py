"""A sidecar whose pools each meet one fault, for SDKs to ask: the pool's name is the model that a person asks for."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from builders import a_config, a_pool, a_target
from conformance.faults import answers, breaks, delayed, said, silence
from conformance.house import House, house
from conformance.speech import text_of
from conformance.turns import Fault, Turn

TEXT = {who: text_of(who, "id-0-0") for who in ("primary", "backup")}
PATIENT = {"connect": 3_500, "head": 4_500, "first_token": 4_500, "idle": 3_500}
"""An SDK asks for everything at once, and the machine may be busy."""
THINKING_SECONDS = 3.0
"""For the 400 s of a model that thinks; `sdks/` has the patience of each SDK to the same scale."""
DOWN = answers(500, said("server_error"))


@dataclass(frozen=True, slots=True)
class Scene:
    """What both targets of a pool do."""

    primary: Fault | None = None
    backup: Fault | None = None
    pool: Mapping[str, Any] | None = None


SCENES: Mapping[str, Scene] = {
    "well": Scene(),
    "failed": Scene(DOWN),
    "refused": Scene(breaks("head", "rst")),
    "garbled": Scene(answers(200, b"<html></html>")),
    "cut": Scene(breaks("middle", "fin")),
    "reset": Scene(breaks("middle", "rst")),
    "stalled": Scene(breaks("middle", "stall")),
    "quiet-end": Scene(breaks("middle", "end")),
    "thinks": Scene(delayed(THINKING_SECONDS), pool={"streaming": {"head_hold": 200, "keep_alive": 200}}),
    "replayed": Scene(breaks("middle", "fin"), pool={"recovery": ("Replay",)}),
    "down": Scene(DOWN, DOWN),
    "busy": Scene(*[answers(529, said("overloaded_error"))] * 2),
    "silent": Scene(silence(), silence()),
    "limited": Scene(*[answers(429, said("rate_limit_exceeded"), ("retry-after", "2"))] * 2),
    "denied": Scene(*[answers(401, said("invalid_api_key"))] * 2),
    "long": Scene(answers(400, said("context_length_exceeded", "invalid_request_error"))),
}


def _plays(scenes: Mapping[str, Fault | None]) -> Fault:
    """By the model that is asked for, `SCENE-model`."""

    async def play(turn: Turn) -> None:
        fault = scenes[turn.ask.model]
        await (turn.well() if fault is None or fault.play is None else fault.play(turn))

    return Fault(play)


@asynccontextmanager
async def sdk_house() -> AsyncIterator[House]:
    """The replayed pool's backup says what its primary would."""
    async with house(timeouts=PATIENT) as held:
        pools = []
        scenes = {f"{name}{end}": scene for name, scene in SCENES.items() for end in ("", "-stream")}
        for name, scene in scenes.items():
            targets = [a_target("primary", model=name), a_target("backup", model=name, priority=1)]
            pools.append(a_pool(name, targets=targets, total=15_000, **(scene.pool or {})))
        providers = [held.contract(name, health={}) for name in ("primary", "backup", "spare")]
        await held.sidecar.apply(a_config(pools, providers), {})
        await held.turn("primary", _plays({name: scene.primary for name, scene in scenes.items()}))
        await held.turn("backup", _plays({name: scene.backup for name, scene in scenes.items()}))
        held.backup.voices["replayed-stream"] = "primary"
        yield held


async def asked(held: House, program: Sequence[str], sdk: str, cwd: str | None = None) -> dict[str, dict[str, Any]]:
    """What an SDK made of every scene, streamed and not: by the scene's name, `+` before it for a stream."""
    names = [*SCENES, "nobody"]
    base_url = f"http://127.0.0.1:{held.sidecar.data_port}/v1"
    process = await asyncio.create_subprocess_exec(
        *program, base_url, sdk, *names, *(f"+{name}" for name in names), stdout=-1, stderr=-1, cwd=cwd
    )
    try:
        async with asyncio.timeout(120):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    found = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    assert len(found) == 2 * len(names), errors.decode()[-3000:]
    return {each["asked"]: each for each in found}
