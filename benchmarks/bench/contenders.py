"""What is measured: what a proxy must tell about itself to be measured beside the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Launch:
    """How a contender is started. `env` is its whole environment; nothing of ours is inherited."""

    command: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contender runs: it listens on 127.0.0.1:`port`, its provider is http://127.0.0.1:`upstream`/v1.

    The two ports after `port` are free too, for listeners of its own; `folder` is empty and its own."""

    folder: Path
    upstream: int
    port: int


class Contender(Protocol):
    """A proxy that answers POST /v1/chat/completions for the model `chat`."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str | None:
        """Why it cannot run here, as a sentence that says what to do; None = it can."""

    def version(self) -> str: ...

    def prepare(self, place: Place) -> Launch:
        """Writes its configuration into the folder and says how it is started."""
