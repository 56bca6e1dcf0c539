"""The lines that requests leave: together and soon, at once on a terminal, and never in a request's way."""

import io
import json

import pytest

from modelpool_sidecar.requestlog import MAX_BYTES, WITHIN_SECONDS, RequestLog
from telemetry_records import record as a_record
from virtual import VirtualClock


class Out(io.BytesIO):
    """Standard output that counts how often it is written to. `broken`: nobody reads it any more."""

    def __init__(self, *, terminal: bool = False, broken: bool = False) -> None:
        super().__init__()
        self.terminal, self.broken = terminal, broken
        self.flushes = 0

    def isatty(self) -> bool:
        return self.terminal

    def flush(self) -> None:
        self.flushes += 1
        if self.broken:
            raise BrokenPipeError

    @property
    def routes(self) -> list[str]:
        """Of the lines so far."""
        return [json.loads(line)["route"] for line in self.getvalue().splitlines()]


def test_lines_are_written_together_and_no_later_than_a_tenth_of_a_second_after_the_first() -> None:
    out, clock = Out(), VirtualClock()
    log = RequestLog(out, clock)
    log(a_record(route="/a"))
    clock.advance(WITHIN_SECONDS - 0.01)
    log(a_record(route="/b"))
    assert (out.routes, out.flushes, repr(log)) == ([], 0, "<RequestLog: 2 lines wait>")
    clock.advance(0.01)
    assert (out.routes, out.flushes, clock.armed) == (["/a", "/b"], 1, 0)
    clock.advance(10)
    assert out.flushes == 1
    log(a_record(route="/c"))
    clock.advance(WITHIN_SECONDS)
    assert (out.routes, out.flushes) == (["/a", "/b", "/c"], 2)


def test_a_line_tells_when_its_request_ended_not_when_it_was_written() -> None:
    out, clock = Out(), VirtualClock()
    logs = RequestLog(out, clock), RequestLog(at_once := Out(terminal=True), clock)
    for log in logs:
        log(a_record())
    clock.advance(WITHIN_SECONDS)
    assert out.getvalue() == at_once.getvalue() != b""


def test_a_terminal_gets_each_line_at_once() -> None:
    out, clock = Out(terminal=True), VirtualClock()
    log = RequestLog(out, clock)
    log(a_record(route="/a"))
    assert (out.routes, clock.armed) == (["/a"], 0)


def test_what_waits_is_written_before_the_end_and_not_again_after_it() -> None:
    out, clock = Out(), VirtualClock()
    log = RequestLog(out, clock)
    log(a_record(route="/a"))
    log.flush()
    assert (out.routes, clock.armed) == (["/a"], 0)
    clock.advance(WITHIN_SECONDS)
    assert out.routes == ["/a"]


def test_what_waits_is_bounded() -> None:
    out, clock = Out(), VirtualClock()
    log = RequestLog(out, clock)
    written = 0
    while not out.flushes:
        log(a_record())
        written += 1
    assert len(out.routes) == written
    assert len(out.getvalue()) < MAX_BYTES + 2 * len(out.getvalue()) / written
    assert clock.armed == 0


@pytest.mark.parametrize("terminal", [True, False])
def test_where_nobody_reads_the_lines_requests_go_on_and_nothing_piles_up(terminal: bool) -> None:
    out, clock = Out(terminal=terminal, broken=True), VirtualClock()
    log = RequestLog(out, clock)
    for _ in range(3):
        log(a_record())
        clock.advance(WITHIN_SECONDS)
    assert (out.flushes, repr(log)) == (3, "<RequestLog: 0 lines wait>")
