"""What an edit comes to, whatever happens while it is taken."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from modelpool_cli.compiling import Compiler
from modelpool_cli.following import Follower
from modelpool_cli.manifests import Source
from modelpool_cli.watching import Watch
from modelpool_config.models import Config

PROVIDER = "apiVersion: modelpool.dev/v1alpha1\nkind: Provider\nmetadata: {name: one}\nspec: {dialect: Fake}\n"
POOL = """\
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: chat}
spec:
  targets:
  - {name: one, providerRef: {name: one}, model: m, weight: 1}
"""
BOTH = f"{PROVIDER}---\n{POOL}"


class Applied:
    """In a sidecar's place: what was applied; `fails` are raised first."""

    def __init__(self, *fails: Exception) -> None:
        self.fails, self.configs, self.invalids = list(fails), [], 0  # type: tuple[list[Exception], list[Config], int]

    async def apply(self, config: Config, credentials: Mapping[str, str]) -> bool:
        if self.fails:
            raise self.fails.pop()
        self.configs.append(config)
        return True

    def invalid(self) -> None:
        self.invalids += 1

    def tell(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)


async def follow(sidecar: Applied, *edits: str | Exception, wanted: int) -> list[str]:
    """Take one edit after the other, each as soon as the one before was told; the lines."""
    current: list[str | Exception] = [BOTH]
    waiting = list(edits)
    told: asyncio.Queue[str] = asyncio.Queue()

    def read() -> tuple[Sequence[Source], Mapping[tuple[str, str], bytes]]:
        if isinstance(current[0], Exception):
            raise current[0]
        return [Source("all.yaml", current[0].encode())], {}

    watch, compiler = Watch(read), Compiler()
    outcome = compiler.compile(*watch.known)
    compiler.keep(outcome)
    first: Any = outcome.of("default")
    follower = Follower(watch, compiler, "default", told.put_nowait)
    task = asyncio.create_task(follower.follow(sidecar, first))
    lines = []
    try:
        while len(lines) < wanted:
            if waiting:
                current[0] = waiting.pop(0)
            lines.append(await asyncio.wait_for(told.get(), 10))
    finally:
        task.cancel()
    return lines


async def test_an_edit_that_cannot_be_taken_is_told_once_and_the_next_one_is_taken() -> None:
    sidecar = Applied()
    lines = await follow(sidecar, RuntimeError("odd"), BOTH.replace("weight: 1", "weight: 2"), wanted=2)
    assert lines == [
        "! this edit could not be taken: RuntimeError: odd; the last good config goes on",
        "* pool chat: one weight 1 -> 2",
    ]


async def test_a_config_that_the_sidecar_cannot_apply_is_counted_and_leaves_what_was_in_force() -> None:
    sidecar = Applied(OSError("no socket"))
    lines = await follow(
        sidecar, BOTH.replace("weight: 1", "weight: 2"), BOTH.replace("weight: 1", "weight: 3"), wanted=2
    )
    assert lines == [
        "! this edit could not be taken: OSError: no socket; the last good config goes on",
        "* pool chat: one weight 1 -> 3",
    ]
    assert (sidecar.invalids, len(sidecar.configs)) == (1, 1)


async def test_deleting_the_last_pool_stops_it() -> None:
    sidecar = Applied()
    lines = await follow(sidecar, PROVIDER, BOTH, wanted=2)
    assert lines[0].startswith("* pool chat is gone")
    assert lines[0].endswith("; no ModelPool is left in namespace default: requests are answered 404")
    assert "pool chat is new" in lines[1]
    assert [(len(config.pools), len(config.closed)) for config in sidecar.configs] == [(0, 0), (1, 0)]


async def test_an_object_that_lost_its_name_is_not_taken_for_deleted() -> None:
    sidecar = Applied()
    lines = await follow(sidecar, f"{PROVIDER}---\n{POOL.replace('{name: chat}', '{}')}", wanted=2)
    assert lines[0].startswith("! all.yaml:")
    assert lines[1] == "! the last good config goes on"
    assert (sidecar.invalids, sidecar.configs) == (1, [])
    assert [f"! {problem}" for problem in sidecar.problems] == lines[:1], "who asks the sidecar is told the same"
