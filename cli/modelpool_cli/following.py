"""What an edit of the manifests does to a sidecar that runs: taken, or told and left aside (B47)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelpool_cli import changes, watching
from modelpool_cli.compiling import Compiler, Outcome
from modelpool_cli.manifests import Source
from modelpool_cli.watching import Watch
from modelpool_operator.desired import Namespace
from modelpool_sidecar.app import Sidecar


@dataclass(frozen=True, slots=True)
class Follower:
    """Follows the files of one namespace. `say` prints a line."""

    watch: Watch
    compiler: Compiler
    namespace: str
    say: Callable[[str], None]

    async def follow(self, sidecar: Sidecar, first: Namespace) -> None:
        """Look for edits, for ever. `first`: what is in force now."""
        in_force = first
        while True:
            await asyncio.sleep(watching.EVERY_SECONDS)
            changed = await asyncio.to_thread(self.watch.poll)
            if isinstance(changed, str):
                self.say(f"! {changed}; the last good config goes on")
            elif changed is not None:
                in_force = await self._take(sidecar, in_force, *changed)

    async def _take(
        self, sidecar: Sidecar, in_force: Namespace, sources: Sequence[Source], values: Mapping[tuple[str, str], bytes]
    ) -> Namespace:
        """One edit: applied, or told why not. Returns what is in force then."""
        outcome = await asyncio.to_thread(self.compiler.compile, sources, values)
        for told in outcome.problems:
            self.say(f"! {told}")
        new = outcome.of(self.namespace)
        if outcome.loaded.faults or new is None:
            # Objects of a file that cannot be read are not gone: nothing of this edit is taken.
            sidecar.invalid()
            why = "" if outcome.loaded.faults else f"no ModelPool is left in namespace {self.namespace}: "
            self.say(f"! {why}the last good config goes on")
            return in_force
        self.compiler.keep(outcome)
        await sidecar.apply(new.config, new.credentials)
        for line in _edit_lines(outcome, in_force, new):
            self.say(line)
        return new


def _edit_lines(outcome: Outcome, old: Namespace, new: Namespace) -> list[str]:
    """What the edit changed, and what of it was not taken."""
    changed = changes.line(old.config, new.config)
    if changed is None and old.credentials != new.credentials:
        changed = "new keys"
    if changed is None and not outcome.kept:
        changed = "nothing that runs has changed"
    lines = [] if changed is None else [f"* {changed}"]
    return lines + [f"! {each}: its last good form goes on" for each in outcome.kept]
