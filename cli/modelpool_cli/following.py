"""What an edit of the manifests does to a sidecar that runs: taken, or told and left aside (B47)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelpool_cli import changes, watching
from modelpool_cli.compiling import Compiler, Outcome
from modelpool_cli.manifests import Source
from modelpool_cli.watching import Watch
from modelpool_operator.namespaces import Namespace
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
        in_force, failure = first, ""
        while True:
            await asyncio.sleep(watching.EVERY_SECONDS)
            try:
                in_force = await self._look(sidecar, in_force)
                failure = ""
            except Exception as error:
                # Whatever it was: the next edit is looked at all the same.
                told = f"! this edit could not be taken: {type(error).__name__}: {error}; the last good config goes on"
                if told != failure:
                    self.say(told)
                    sidecar.tell([told.removeprefix("! ")])
                failure = told

    async def _look(self, sidecar: Sidecar, in_force: Namespace) -> Namespace:
        """One look. Returns what is in force then."""
        changed = await asyncio.to_thread(self.watch.poll)
        if isinstance(changed, str):
            self.say(f"! {changed}; the last good config goes on")
            sidecar.tell([changed])
        elif changed is not None:
            return await self._take(sidecar, in_force, *changed)
        return in_force

    async def _take(
        self, sidecar: Sidecar, in_force: Namespace, sources: Sequence[Source], values: Mapping[tuple[str, str], bytes]
    ) -> Namespace:
        """One edit: applied, or told why not. Returns what is in force then."""
        outcome = await asyncio.to_thread(self.compiler.compile, sources, values)
        for told in outcome.problems:
            self.say(f"! {told}")
        sidecar.tell([str(told) for told in outcome.problems])
        new = outcome.of(self.namespace)
        if outcome.loaded.faults or (new is None and any(not told.about for told in outcome.problems)):
            # What cannot be read, or does not say what it is, may be any of our objects: nothing of this edit is taken.
            sidecar.invalid()
            self.say("! the last good config goes on")
            return in_force
        if new is None:
            new = _nothing(in_force)
        try:
            await sidecar.apply(new.config, new.credentials)
        except Exception:
            sidecar.invalid()
            raise
        self.compiler.keep(outcome)
        for line in _edit_lines(outcome, in_force, new):
            self.say(line)
        return new


def _nothing(in_force: Namespace) -> Namespace:
    """What is left when the last pool is deleted: deleting is how one stops it (B47a)."""
    config = in_force.config.model_copy(update={"providers": (), "pools": (), "closed": ()})
    return Namespace(config, {})


def _edit_lines(outcome: Outcome, old: Namespace, new: Namespace) -> list[str]:
    """What the edit changed, and what of it was not taken."""
    changed = changes.line(old.config, new.config)
    if changed is None and old.credentials != new.credentials:
        changed = "new keys"
    if changed is None and not outcome.kept:
        changed = "nothing that runs has changed"
    if not new.config.pools and not new.config.closed and changed is not None:
        changed += f"; no ModelPool is left in namespace {new.config.namespace}: requests are answered 404"
    lines = [] if changed is None else [f"* {changed}"]
    return lines + [f"! {each}: its last good form goes on" for each in outcome.kept]
