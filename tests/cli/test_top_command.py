"""`modelpool top`: what a frame says in each state, and the live view in a terminal of its own."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builders import a_chain, a_pool, a_pool_target, a_provider, a_snapshot, a_target
from cli_process import ROOT, Running, clean_env, modelpool
from modelpool_cli import frame
from modelpool_sidecar.core.state import State

PATIENCE_SECONDS = 20.0
NOW = 1000.0
MINUTE = {"name": "minute", "max": 60, "per": 60_000, "burst": 60, "scope": "Sidecar"}


def a_state(**changes: Any) -> dict[str, Any]:
    """What `/-/state` tells of one pool with two targets."""
    few = {"requests": [{**MINUTE, "name": "few", "by": "Header", "header": "x-tenant"}], "concurrency": {"max": 4}}
    targets = [a_target("one", weight=9, limits=few), a_target("two"), a_target("later", priority=1)]
    limits = {
        "requests": [MINUTE],
        "concurrency": {"max": 8},
    }
    pool = a_pool(targets=targets, models=("chat", "gpt-*"), limits=limits)
    account = {"requests": [{**MINUTE, "name": "account", "mode": "Observe"}]}
    providers = [a_provider("one", limits=account), a_provider("two"), a_provider("later")]
    state = State().describe(a_snapshot([pool], providers), NOW)
    state["pools"][0]["servingPriority"] = 0
    return {
        "inFlight": 3,
        "notReady": None,
        "now": 900.0,
        "config": {"takenOver": 820.0, "problems": []},
        **state,
        **changes,
    }


def text(state: dict[str, Any], width: int = 200, lost: str | None = None) -> str:
    return "\n".join(frame.draw(line, width, coloured=False) for line in frame.frame(state, lost))


def test_a_frame_tells_pool_targets_and_limits() -> None:
    shown = text(a_state())
    assert re.search(
        r"^modelpool  namespace default  in flight 3  config [0-9a-f]{12}  taken over 1 min 20 s ago$",
        shown,
        re.MULTILINE,
    )
    assert re.search(r"^pool chat  in flight 0 of 8  retries left 30.*  answers to chat, gpt-\*$", shown, re.MULTILINE)
    assert re.search(
        r"^  >  0  one    serving  #########     9 of 10      0 in flight  one one-model", shown, re.MULTILINE
    )
    assert re.search(r"^     1  later  serving  ##########    1 of 1 ", shown, re.MULTILINE)
    assert "    limit minute  60 left of 60 per 1 min, whole" in shown
    assert "    limit few of target one  60 left of 60 per 1 min, whole  by x-tenant  values 0" in shown
    assert "    limit concurrency of target one  4 left of 4 at once, 0 in flight" in shown
    assert "    limit account of provider one  60 left of 60 per 1 min, whole  mode Observe  observed 0" in shown


def test_a_frame_shows_targets_behind_a_pool_with_their_part_of_the_requests_and_the_limits_on_their_way() -> None:
    """B7."""
    near = a_pool("near", [a_target("east", weight=3), a_target("west")], limits={"requests": [MINUTE]})
    hour = {"requests": [{**MINUTE, "name": "hour"}]}
    chat = a_chain("chat", a_pool_target("near", weight=4, limits=hour), a_target("far", weight=1))
    state = State().describe(a_snapshot([near, chat]), NOW)
    told = {target["name"]: target for target in state["pools"][1]["targets"]}
    assert {name: (each["through"], each["of"], each["part"]) for name, each in told.items()} == {
        "far": ([], 5, 0.2),
        "near/east": (["near"], 4, 0.6),
        "near/west": (["near"], 4, 0.2),
    }
    assert state["pools"][1]["poolTargets"] == [{"name": "near", "pool": "near", "weight": 4, "priority": 0}]
    shown = text({"inFlight": 0, "pools": [state["pools"][1]]})
    assert re.search(r"near/east +serving +###### +3 of 4 ", shown)
    assert re.search(r"far +serving +## +1 of 5 ", shown)
    assert "limit hour of target chat/near" in shown
    assert shown.count("limit minute of pool near") == 1


def test_a_frame_says_how_streams_that_break_are_recovered() -> None:
    state = a_state()
    state["pools"][0] |= {"recovery": ["Continue", "Replay"]}
    assert "\n  streams that break are recovered: Continue, then Replay\n" in text(state)
    state["pools"][0] |= {"recovery": [], "commit": "Complete"}
    assert "\n  streams are held until they are whole\n" in text(state)
    assert "recover" not in text(state)


def test_a_frame_says_what_the_cache_keeps() -> None:
    state = a_state()
    kept = {"entries": 12, "maxEntries": 1000, "bytes": 314573, "maxBytes": 67108864, "ratio": None}
    state["pools"][0] |= {"cache": kept}
    assert "\n  keeps 12 of 1000 answers, 0.3 of 64.0 MiB\n" in text(state)
    state["pools"][0] |= {"cache": {**kept, "ratio": 0.4}}
    assert "\n  keeps 12 of 1000 answers, 0.3 of 64.0 MiB; 40% were hits\n" in text(state)
    state["pools"][0] |= {"cache": None}
    assert "keeps" not in text(state)


def test_a_frame_names_callers_and_where_files_live() -> None:
    state = a_state()
    state["pools"][0] |= {"callers": {"keys": "Secret team-keys", "count": 3, "names": ["batch", "search"]}}
    state["pools"][0] |= {"stateful": "one"}
    shown = text(state)
    assert "\n  for 3 callers with a key of Secret team-keys: batch, search and 1 more\n" in shown
    assert "\n  files, batches and kept answers live at one\n" in shown
    state["pools"][0]["hedging"] = {"left": 3}
    assert "hedges left 3" in text(state)
    state["pools"][0]["callers"] = {"keys": "Secret team-keys", "count": 1, "names": []}
    assert "\n  for 1 caller with a key of Secret team-keys\n" in text(state)


def test_a_limit_on_requests_and_one_on_tokens_may_have_one_name() -> None:
    state = a_state()
    limit = {"name": "minute", "level": "provider", "max": 9, "per": 60.0, "burst": 9, "remaining": 9, "reset": 0.0}
    state["pools"][0]["targets"][0]["limits"] = [limit, {**limit, "max": 700, "burst": 700, "count": "Total"}]
    shown = text(state)
    assert shown.count("limit minute of provider one") == 2
    assert " of 700 " in shown


def test_a_burst_is_named_where_it_is_not_the_limit_itself() -> None:
    state = a_state()
    limit = {"name": "minute", "level": "provider", "max": 60, "per": 60.0, "burst": 60, "remaining": 9, "reset": 1.0}
    state["pools"][0]["targets"][0]["limits"] = [limit]
    assert "burst" not in text(state)
    state["pools"][0]["targets"][0]["limits"] = [{**limit, "burst": 10}]
    assert "  9 left of 60 per 1 min, burst 10, whole in 1.0 s\n" in f"{text(state)}\n"


def test_the_callers_of_whose_limits_the_least_is_left_are_shown_and_nobody_who_uses_nothing() -> None:
    state = a_state()
    own = {"name": "minute", "level": "caller", "max": 20, "per": 60.0, "burst": 20, "reset": 1.0}
    callers = [{**own, "caller": f"caller-{left:02}", "remaining": left} for left in range(21)]
    state["pools"][0]["callerLimits"] = callers
    shown = text(state)
    assert "    limit minute of caller caller-00  0 left of 20 per 1 min" in shown
    assert "caller-09" in shown
    assert "caller-10" not in shown
    assert "    and 10 limits more of callers that are in use" in shown
    state["pools"][0]["callerLimits"] = callers[-1:]
    assert "caller-20" not in text(state), "nothing of it is used"


STANDINGS: dict[str, tuple[dict[str, Any], str]] = {
    "drained": ({"blocked": "drained"}, "drained by hand"),
    "no key": ({"blocked": "pending"}, "no key yet"),
    "cools": (
        {"stance": "cooling", "reason": "RateLimited", "until": 3.4, "blocked": "cooling"},
        "cooling RateLimited 3.4 s",
    ),
    "is due": ({"stance": "probing", "reason": "Failed"}, "to be probed"),
    "is probed": ({"stance": "probing", "probe": True, "blocked": "cooling"}, "probing"),
    "is full": ({"blocked": "full"}, "full"),
    "ramps": ({"share": 0.37}, "ramping up 37%"),
    "is shaped": ({"share": 0.37, "shaped": {"share": 0.37, "by": "requests"}}, "shaped 37%"),
    "has no weight": ({"weight": 0}, "weight 0"),
    "serves": ({}, "serving"),
}


@pytest.mark.parametrize("what", STANDINGS)
def test_each_standing_has_words_of_its_own(what: str) -> None:
    changes, words = STANDINGS[what]
    target = {"stance": "serving", "share": 1.0, "weight": 1, "blocked": None, **changes}
    assert frame.standing(target)[0] == words


def test_closed_pools_problems_fakes_and_lost_sidecars_are_told() -> None:
    closed = {"name": "shut", "models": ["shut"], "closed": "no_target", "message": "nobody is there"}
    config = {"takenOver": 820.0, "problems": ["pool.yaml:7: no"]}
    fakes = {"one": {"baseURL": "x", "broken": "429"}, "two": {"baseURL": "x", "broken": None}}
    shown = text(a_state(pools=[closed], config=config, fakes=fakes, notReady="draining", sidecars=3))
    assert "pool shut  closed: 503 no_target\n  nobody is there" in shown
    assert "! pool.yaml:7: no" in shown
    assert "! not ready: draining" in shown
    assert "3 sidecars share limits" in shown
    assert shown.endswith("fakes: one is broken: 429, two")
    assert "! no answer: it is gone; what stands below is old" in text(a_state(), lost="it is gone")
    assert "there is no pool" in text({"inFlight": 0})


def test_what_a_newer_sidecar_tells_is_shown_as_it_is_called() -> None:
    state = a_state()
    pool = state["pools"][0]
    pool |= {
        "servingPriority": None,
        "line": {"waiting": 2, "max": 0},
        "queue": {"waiting": 3, "max": 5, "timeout": 1.0},
    }
    pool["targets"][0] |= {"waitSeconds": 0.2134, "warm": True, "tags": ["a", "b"], "odd": [{}], "none": None}
    pool["unresolved"] = [{"name": "gone", "reason": "ProviderNotFound", "message": "there is no Provider x"}]
    pool["limits"][0] |= {"remaining": 0, "reset": 0.5, "count": "Total"}
    shown = text(state)
    assert "nobody can be asked" in shown
    assert "line waiting 2  line max 0" in shown
    assert "waiting 3 of 5" in shown
    assert "waitSeconds 0.213  warm  tags a, b" in shown
    assert "gone  left out: ProviderNotFound\n      there is no Provider x" in shown
    assert "0 left of 60 per 1 min, whole in 0.5 s  count Total" in shown


def test_a_line_is_cut_at_the_width_and_nothing_in_it_steers_the_terminal() -> None:
    line = [("pool \x1b[2J", frame.BOLD), ("abcdef", frame.PLAIN), ("never", frame.BAD)]
    assert frame.draw(line, 100, coloured=False) == "pool \\x1b[2Jabcdefnever"
    assert frame.draw(line, 14, coloured=False) == "pool \\x1b[2Ja…"
    assert frame.draw(line, 14, coloured=True) == "\x1b[1mpool \\x1b[2J\x1b[0ma…"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (59.0, "59 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (7380, "2 h 3 min"),
    ],
)
def test_durations_read_well(value: float, words: str) -> None:
    assert frame.seconds(value) == words


# -- the command


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Running, int]]:
    with Running("run", "-f", str(ROOT / "examples/quickstart"), "--port", "0") as started:
        yield started, started.port()


def test_one_frame_is_printed_for_a_log_and_as_data(running: tuple[Running, int]) -> None:
    port = str(running[1])
    once = modelpool("top", "--once", "--port", port)
    assert once.returncode == 0
    assert "\x1b" not in once.stdout
    assert re.search(r"^  >  0  primary  serving +#########  +90 of 100 ", once.stdout, re.MULTILINE)
    data = modelpool("top", "--once", "-o", "json", "--port", port)
    assert json.loads(data.stdout)["pools"][0]["servingPriority"] == 0


def test_nothing_there_no_terminal_and_no_sidecar_are_told_with_what_helps(running: tuple[Running, int]) -> None:
    nothing = modelpool("top", "--once", "--port", "9")
    assert nothing.returncode == 1
    assert "nothing runs at http://127.0.0.1:11: start it in another terminal (`make run`" in nothing.stderr
    other = modelpool("top", "--once", "--admin", f"http://127.0.0.1:{running[1] + 1}")
    assert (other.returncode, "is no sidecar's admin port" in other.stderr) == (1, True)
    piped = modelpool("top", "--port", str(running[1]))
    assert (piped.returncode, "--once prints one frame" in piped.stderr) == (2, True)
    live = modelpool("top", "-o", "json", "--port", str(running[1]))
    assert (live.returncode, "give --once" in live.stderr) == (2, True)


class Terminal:
    """`modelpool top` in a terminal that a test can read, type into and resize."""

    def __init__(self, port: int, columns: int, lines: int) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(theirs)
        words = [sys.executable, "-m", "modelpool_cli", "top", "--port", str(port)]
        env = clean_env({"TERM": "xterm"})
        env.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=_own,  # noqa: PLW1509 - it makes one system call, between fork and exec
        )
        self.theirs, self.seen = theirs, ""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def until(self, holds: Callable[[str], object]) -> str:
        """Read on until the newest screen is like that."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds(self.screen):
            ready, _, _ = select.select([self.ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"never so:\n{self.screen}"
            self.seen += os.read(self.ours, 65_536).decode()
        return self.screen

    @property
    def screen(self) -> str:
        """The last frame, without its colours."""
        return re.sub(r"\x1b\[[0-9;]*[mKJ]", "", self.seen.rpartition("\x1b[H")[2])

    def ended(self) -> int:
        code = self.process.wait(PATIENCE_SECONDS)
        while select.select([self.ours], [], [], 0)[0]:
            self.seen += os.read(self.ours, 65_536).decode()
        return code


def _own() -> None:
    """The terminal is the program's own: Ctrl-C reaches it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def terminal(port: int, columns: int = 100, lines: int = 30) -> Iterator[Terminal]:
    it = Terminal(port, columns, lines)
    try:
        yield it
    finally:
        if it.process.poll() is None:
            it.process.kill()
            it.process.wait()
        os.close(it.ours)
        os.close(it.theirs)


def test_the_live_view_follows_the_sidecar_and_q_leaves_the_terminal_as_it_was(running: tuple[Running, int]) -> None:
    port = running[1]
    with terminal(port) as it:
        it.until(lambda screen: "primary  serving" in screen and "q ends it" in screen)
        assert "\x1b[32mserving" in it.seen
        modelpool("break", "backup", "--as", "429", "--port", str(port))
        it.until(lambda screen: "backup is broken: 429" in screen)
        modelpool("mend", "backup", "--port", str(port))
        it.until(lambda screen: "is broken" not in screen and "fakes: " in screen)
        it.press("q")
        assert it.ended() == 0
        assert it.seen.endswith("\x1b[?25h\x1b[?1049l")
        assert termios.tcgetattr(it.theirs) == it.before


def test_it_fits_a_small_window_scrolls_and_follows_a_resize(running: tuple[Running, int]) -> None:
    with terminal(running[1], columns=40, lines=5) as it:
        screen = it.until(lambda screen: "q ends it" in screen)
        assert len(screen.split("\r\n")) == 5
        assert max(len(line) for line in screen.split("\r\n")) <= 40
        assert "fakes:" not in screen
        it.press("jjjj\x1b[B  ")
        it.until(lambda screen: "fakes:" in screen)
        it.press("kb\x1b[A\x1b")
        it.until(lambda screen: "pool chat" in screen)
        it.resize(120, 40)
        it.until(lambda screen: "fakes:" in screen and "pool chat" in screen and "in flight  backup" in screen)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_without_a_trace(running: tuple[Running, int], number: signal.Signals, code: int) -> None:
    with terminal(running[1]) as it:
        it.until(lambda screen: "q ends it" in screen)
        if number is signal.SIGINT:
            it.press("\x03")
        else:
            it.process.send_signal(number)
        assert it.ended() == code
        assert it.seen.endswith("\x1b[?25h\x1b[?1049l")
        assert "Traceback" not in it.seen
        assert termios.tcgetattr(it.theirs) == it.before


def test_a_sidecar_that_ends_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "apiVersion: modelpool.dev/v1alpha1\nkind: Provider\nmetadata: {name: one}\nspec: {dialect: Fake}\n---\n"
        "apiVersion: modelpool.dev/v1alpha1\nkind: ModelPool\nmetadata: {name: chat}\n"
        "spec: {targets: [{name: one, providerRef: {name: one}, model: m}]}\n"
    )
    with Running("run", "-f", str(tmp_path), "--port", "0") as first:
        port = first.port()
        with terminal(port) as it:
            it.until(lambda screen: "one  serving" in screen)
            first.signal(signal.SIGINT)
            first.ended()
            screen = it.until(lambda screen: "! no answer: nothing runs at" in screen)
            assert "one  serving" in screen
            with Running("run", "-f", str(tmp_path), "--port", str(port)) as second:
                second.port()
                it.until(lambda screen: "one  serving" in screen and "no answer" not in screen)
