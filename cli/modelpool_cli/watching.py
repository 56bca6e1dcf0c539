"""Whether the manifests have changed since they were last looked at."""

from collections.abc import Callable, Mapping, Sequence

from modelpool_cli.manifests import NoManifestsError, Source
from modelpool_cli.secrets import SecretError

Read = Callable[[], tuple[Sequence[Source], Mapping[tuple[str, str], bytes]]]
"""Reads all files and keys anew."""

EVERY_SECONDS = 0.3


class Watch:
    """Compares contents, not times: an editor that writes the same text, or in two steps, is no change and one."""

    def __init__(self, read: Read) -> None:
        """What can be read now counts as known. Raises what `read` raises."""
        self._read = read
        self._known: object = read()
        self._settling: object = self._known

    @property
    def known(self) -> tuple[Sequence[Source], Mapping[tuple[str, str], bytes]]:
        """What was read last, and taken."""
        assert isinstance(self._known, tuple)
        return self._known

    def poll(self) -> tuple[Sequence[Source], Mapping[tuple[str, str], bytes]] | str | None:
        """The new contents, a sentence where they cannot be read, None where nothing is new.

        A change is told when two looks in a row agree on it, so that a file is not read while it is being written;
        each change is told once.
        """
        now: tuple[Sequence[Source], Mapping[tuple[str, str], bytes]] | str
        try:
            now = self._read()
        except (NoManifestsError, SecretError) as error:
            now = str(error)
        settled = now == self._settling
        self._settling = now
        if now == self._known or not settled:
            return None
        self._known = now
        return now
