"""One client of an answer that is given to several: the head as it is for it, and how far it has heard (B53)."""

from collections.abc import Callable
from dataclasses import dataclass

from modelpool_sidecar.core.limits import Told
from modelpool_sidecar.core.limits import headers as limit_headers
from modelpool_sidecar.ports import Downstream, Headers

_OWN = ("x-modelpool-cache", "x-modelpool-cost")
_OWN_PREFIX = "x-ratelimit-"


@dataclass(eq=False, slots=True)
class Listener:
    """One client of a call. `told`: its own limits, where it is not the one that the call was admitted for. `over`
    hears once that nothing is owed to it any more; `left`: whether it went before the end. `at`: how many pieces of the
    answer it has; `full`: its connection takes no more for the moment;
    `ended`: it was told how the answer ended."""

    downstream: Downstream
    shared: bool
    told: tuple[Told, ...]
    over: Callable[["Listener", bool], None]
    at: int = 0
    full: bool = False
    ended: bool = False

    def headers(self, headers: Headers) -> Headers:
        """The head as it is for this client: one that shares an answer pays nothing, and has limits of its own."""
        if not self.shared:
            return headers
        passed = tuple(pair for pair in headers if pair[0] not in _OWN and not pair[0].startswith(_OWN_PREFIX))
        return (*passed, *limit_headers(self.told), ("x-modelpool-cache", "shared"), ("x-modelpool-cost", "0"))
