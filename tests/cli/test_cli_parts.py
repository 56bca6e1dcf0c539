"""The small pure parts of the command: hints, live lines, changes, watching, port holders, help."""

import dataclasses
import errno
import os
import re
import shlex
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelpool_cli import (
    arguments,
    asking,
    changes,
    client,
    environment,
    faking,
    hints,
    live,
    portholder,
    program,
    trying,
)
from modelpool_cli.__main__ import command
from modelpool_cli.client import Address, UnreachableError
from modelpool_cli.compiling import Compiler
from modelpool_cli.hints import Start
from modelpool_cli.manifests import NoManifestsError, Source, read_files
from modelpool_cli.program import Interrupts
from modelpool_cli.watching import Watch
from modelpool_config.models import ClosedPool, Config, Header
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import AttemptRecord, Record, Usage

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


def quickstart(*edits: tuple[str, str]) -> Config:
    sources = read_files([QUICKSTART])
    for old, new in edits:
        sources = [Source(each.name, each.data.replace(old.encode(), new.encode())) for each in sources]
    namespace = Compiler().compile(sources).of("default")
    assert namespace is not None
    return namespace.config


def record(**more: object) -> Record:
    base: dict[str, object] = {each.name: None for each in dataclasses.fields(Record)}
    base |= {"method": "POST", "route": "/v1/chat/completions", "operation": "chat", "stream": False, "status": 200}
    base |= {
        "outcome": Outcome.OK,
        "pool": "chat",
        "target": "primary",
        "usage": Usage(),
        "attempts": (),
        "started": 0.0,
    }
    base |= {"duration": 1.5, "finish_reasons": (), "client_retry": 0, "config": ""}
    return Record(**{**base, **more})


def tried(number: int, target: str, outcome: Outcome, *, probe: bool = False, **more: bool) -> AttemptRecord:
    return AttemptRecord(number, target, target, "m", outcome, 200, 0.0, 1.0, False, probe, **more)


def test_a_plain_answer_has_its_numbers_in_columns() -> None:
    line = live.line(record(attempts=(tried(1, "primary", Outcome.OK),), usage=Usage(9, 14), first_token=0.214))
    assert line == "chat          primary       1         0.21 s       9+14       1.50 s"
    assert live.HEADING.index("tokens") == line.index("9+14")


def test_what_is_not_told_is_a_dash() -> None:
    assert live.line(record(pool=None, target=None, outcome=None, route="/v1/models", duration=0.0)).split() == [
        "-", "-", "-", "-", "-", "0.00", "s", "/models",
    ]  # fmt: skip
    assert "  -+7  " in live.line(record(usage=Usage(None, 7)))


def test_what_went_wrong_stands_at_the_end() -> None:
    attempts = (tried(1, "primary", Outcome.FAILED), tried(2, "backup", Outcome.OK, probe=True))
    assert live.line(record(attempts=attempts)).endswith("s    after primary Failed; probe")
    assert live.line(record(outcome=None, refusal="model_not_found", status=404)).endswith("s    404 model_not_found")
    outrun = (tried(1, "primary", Outcome.CANCELLED, outrun=True), tried(2, "backup", Outcome.OK, hedge=True))
    assert live.line(record(attempts=outrun)).endswith("s    faster than primary")
    assert live.line(record(outcome=None, cache="hit")).endswith("s    from the cache")
    assert live.line(record(outcome=None, cache="shared")).endswith("s    shares another one's answer")
    failed = record(outcome=Outcome.FAILED, status=503, attempts=(tried(1, "primary", Outcome.FAILED),))
    assert live.line(failed).endswith("s    503 Failed")


def test_a_long_name_does_not_break_the_columns() -> None:
    assert live.line(record(pool="a-very-long-pool-name")).startswith("a-very-long…  primary")


def test_an_edit_is_told_in_a_line() -> None:
    assert changes.line(quickstart(), quickstart()) is None
    assert changes.line(quickstart(), quickstart(("weight: 90", "weight: 50"))) == (
        "pool chat: primary weight 90 -> 50"
    )
    many = changes.line(
        quickstart(),
        quickstart(("cooldown: 5s", "cooldown: 6s"), ("weight: ", "weight: 1"), ("successes: 2", "successes: 1")),
    )
    assert many is not None
    assert many.endswith(" and 2 more")
    renamed = changes.line(quickstart(), quickstart(("{name: chat}", "{name: talk}")))
    assert renamed == "pool chat is gone, pool talk is new"


def provider(name: str, old: Config, **more: object) -> Config:
    changed = [each.model_copy(update=more) if each.name == name else each for each in old.providers]
    return old.model_copy(update={"providers": tuple(changed)})


def test_a_header_of_an_edit_is_named_and_its_value_is_never_shown() -> None:
    without = quickstart()
    old = provider("primary", without, headers=(Header(name="x-key", value="sk-first"),))
    new = provider("primary", without, headers=(Header(name="x-key", value="sk-second"),))
    assert changes.line(old, new) == "provider primary: headers x-key changed"
    assert changes.line(without, new) == "provider primary: headers changed"
    moved = provider("primary", without, headers=(Header(name="x-key", credential="a.b"),))
    assert changes.line(old, moved) == "provider primary: headers x-key changed"
    assert (
        changes.line(
            provider(
                "primary", without, response_headers=(Header(name="a", value="sk-1"), Header(name="b", value="1"))
            ),
            provider(
                "primary", without, response_headers=(Header(name="a", value="sk-2"), Header(name="b", value="1"))
            ),
        )
        == "provider primary: responseHeaders a changed"
    )


def test_a_pool_that_closes_or_opens_is_told_by_why_it_answers_503() -> None:
    served = quickstart()
    closed = ClosedPool(name="chat", models=("chat",), code="no_target", message="no target can be\x1b[2J resolved")
    shut = served.model_copy(update={"pools": (), "closed": (closed,)})
    nothing = served.model_copy(update={"pools": ()})
    why = "answers 503: no target can be\\x1b[2J resolved"
    assert changes.line(served, shut) == f"pool chat {why}"
    assert changes.line(shut, shut) is None
    assert changes.line(shut, served) == "pool chat serves again"
    assert changes.line(nothing, shut) == f"pool chat is new and {why}"
    assert changes.line(shut, nothing) == "pool chat is gone"


def start(**more: object) -> Start:
    base: dict[str, object] = {"make": False, "command": "bin/modelpool", "port": 4891, "python": "bin/python"}
    return Start(**{**base, **more})


def test_commands_are_spelled_as_the_user_started_us() -> None:
    by_make = "\n".join(hints.ready(start(make=True, paths=["examples/quickstart"]), quickstart(), (4891, 4892, 4893)))
    assert "  make ask    60 requests" in by_make
    assert "  make break  primary fails" in by_make
    assert by_make.splitlines()[-1] == "    OPENAI_API_KEY=... bin/modelpool run"
    assert "status page: http://127.0.0.1:4893/" in by_make
    other = "\n".join(hints.ready(start(port=5000, paths=["x"]), quickstart(), (5000, 5001, 5002)))
    assert "bin/modelpool break primary --port 5000" in other
    elsewhere = "\n".join(hints.ready(start(make=True, port=5000), quickstart(), (5000, 5001, 5002)))
    assert "make ask PORT=5000" in elsewhere


def test_the_curl_line_is_one_shell_command_with_a_json_body() -> None:
    words = shlex.split(hints.curl(start(), "it's"))
    assert words[:2] == ["curl", "http://127.0.0.1:4891/v1/chat/completions"]
    assert '"model":"it\'s"' in words[-1]


def test_the_snippet_is_three_lines_of_python() -> None:
    lines = hints.snippet(start(), "chat")
    assert len(lines) == 3
    compile("\n".join(lines), "snippet", "exec")


@pytest.mark.parametrize(("models", "example"), [('- {name: "*"}', "gpt-4o-mini"), ('- {name: "gpt-*"}', "gpt-1")])
def test_a_pattern_is_shown_by_a_name_that_it_takes(models: str, example: str) -> None:
    edited = quickstart(("spec:\n  targets:", f"spec:\n  models:\n  {models}\n  targets:"))
    assert hints.example_model(edited) == example


def test_a_change_is_told_once_and_only_when_it_has_settled() -> None:
    contents = [b"1"]

    def look() -> tuple[Sequence[Source], Mapping[tuple[str, str], bytes]]:
        if contents[0] == b"gone":
            raise NoManifestsError("nothing is there")
        return [Source("a", contents[0])], {}

    watch = Watch(look)
    assert watch.poll() is None
    contents[0] = b"2"
    assert watch.poll() is None, "it may still be written"
    assert watch.poll() == ([Source("a", b"2")], {})
    assert watch.poll() is None
    contents[0] = b"gone"
    assert [watch.poll(), watch.poll(), watch.poll()] == [None, "nothing is there", None]


def test_the_holder_of_a_port_is_found_and_nobody_where_there_is_none() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert portholder.find(port) is None
        sock.listen()
        holder = portholder.find(port)
        assert holder is not None
        assert holder.pid == os.getpid()
    assert portholder.find(port, Path("/nowhere")) is None


def test_a_fake_provider_on_a_held_port_says_who_holds_it_and_a_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        assert faking.serve(port, None) == 1
    said = capsys.readouterr().err
    assert f"port {port} is held by process {os.getpid()} (" in said
    assert re.search(r"; end it, or take another port: --port \d+\n", said)


def test_a_port_that_nobody_holds_and_that_cannot_be_had_is_told_as_the_system_does() -> None:
    assert portholder.refusal(PermissionError(errno.EACCES, "not allowed"), (80,), "take another") == "not allowed"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["/usr/bin/node", "server.js", "--token=sk-1"], "node"),
        (["python", "app.py", "sk-1"], "python app.py"),
        (["/x/.venv/bin/python3.12", "-X", "dev", "-u", "/x/.venv/bin/uvicorn", "--key", "sk-1"], "python3.12 uvicorn"),
        (["python3", "-m", "vllm.server", "--api-key", "sk-1"], "python3 -m vllm.server"),
        (["python3", "-c", "key = 'sk-1'"], "python3"),
        (["python3"], "python3"),
        (["nginx: master process /usr/sbin/nginx -g sk-1"], "nginx"),
        ([""], ""),
        ([], ""),
    ],
)
def test_a_program_is_named_without_the_words_that_may_hold_a_key(words: list[str], shown: str) -> None:
    assert program.title(words) == shown


def test_a_holder_is_named_without_its_options(tmp_path: Path) -> None:
    net, fds = tmp_path / "net", tmp_path / "7" / "fd"
    net.mkdir()
    fds.mkdir(parents=True)
    (net / "tcp").write_text("head\n 0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 4242 1\n")
    (fds / "3").symlink_to("socket:[4242]")
    (tmp_path / "7" / "cmdline").write_bytes(b"/bin/serve\0--api-key\0sk-1\0")
    assert str(portholder.find(0x1F90, tmp_path)) == "process 7 (serve)"
    (tmp_path / "7" / "cmdline").write_bytes(b"")
    assert str(portholder.find(0x1F90, tmp_path)) == "process 7 (unknown)"


def test_only_two_interrupts_within_a_second_kill_and_none_in_a_terminal() -> None:
    interrupts = Interrupts()
    apart = [interrupts.decide(signal.SIGINT, now, foreground=False) for now in (0.0, 1.5, 4.0, 4.9)]
    assert apart == [signal.SIGINT, signal.SIGINT, signal.SIGINT, signal.SIGKILL]
    assert interrupts.decide(signal.SIGTERM, 4.9, foreground=True) == signal.SIGTERM
    prompt = Interrupts()
    assert [prompt.decide(signal.SIGINT, now, foreground=True) for now in (0.0, 0.1, 0.2)] == [None, None, None]


@pytest.mark.parametrize(
    ("base_url", "taken"),
    [
        (None, None),
        ("", None),
        ("http://127.0.0.1:4891/v1", None),
        ("http://localhost:4891/v1", None),
        ("http://[::1]:4891/v1", None),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("https://proxy.example/v1", "https://proxy.example/v1"),
        ("http://x:port/v1", "http://x:port/v1"),
    ],
)
def test_the_base_url_is_the_upstream_unless_it_is_ours(base_url: str | None, taken: str | None) -> None:
    env = {} if base_url is None else {"OPENAI_BASE_URL": base_url}
    assert environment.upstream(env, 4891) == taken


def test_a_wrong_base_url_in_the_environment_is_judged_like_any_other() -> None:
    env = {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://api.example.com/v1"}
    outcome = Compiler().compile(environment.sources(env, 4891), environment.secrets(env))
    (problem,) = outcome.problems
    assert str(problem).startswith("OPENAI_BASE_URL: must ")
    assert problem.field == "baseURL"
    assert "sk-1" not in str(outcome.problems)


@pytest.mark.parametrize("env", [{}, {"OPENAI_API_KEY": "sk-1"}])
def test_a_secret_without_manifests_is_wrong_use(env: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["run", "--secret", "a/k=env:KEY"], env, "modelpool") == 2
    assert "--secret gives a key to manifests: name them with -f" in capsys.readouterr().err


def test_a_key_that_cannot_be_sent_is_told_by_its_variable() -> None:
    env = {"OPENAI_API_KEY": "sk-é"}
    outcome = Compiler().compile(environment.sources(env, 4891), environment.secrets(env))
    (problem,) = outcome.problems
    value, right = "its value has characters that no header can carry", "set it to the key alone, in one line of ASCII"
    assert str(problem) == f"OPENAI_API_KEY: {value}; {right}"


@pytest.mark.parametrize(
    "name", ["", "run", "check", "explain", "inject", "try", "ask", "top", "break", "mend", "fake-provider"]
)
def test_every_command_explains_itself_within_a_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parser().parse_args([*([name] if name else []), "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert "exit codes: 0 done; 1" in text
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize(
    "words",
    [
        [], ["walk"], ["run", "--port", "70000"], ["run", "--"], ["ask", "chat", "--rate", "0"], ["check"],
        ["ask", "chat", "--rate", "fast"], ["ask", "chat", "--count", "0"], ["run", "extra"], ["try", "chat"],
    ],
)  # fmt: skip
def test_wrong_use_ends_with_2_and_the_way_to_the_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(words, {}, "modelpool")
    assert ended.value.code == 2
    assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--url", "--admin"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://[::1", "localhost:8891", "ftp://x", "http://"])
def test_an_address_that_is_none_is_said_so_and_ends_with_2(
    option: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(["try", "chat", "hi", option, url], {}, "modelpool")
    assert ended.value.code == 2
    assert f"{url} is not an address: write it like http://127.0.0.1:4891" in capsys.readouterr().err


def test_a_program_without_the_dashes_is_told_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(["run", "-f", ".", "python", "app.py", "sk-1"], {}, "modelpool")
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert "a program stands after --: modelpool run -f . -- python ..." in told
    assert "sk-1" not in told


def test_a_tally_is_a_line_while_it_runs_and_bars_at_the_end() -> None:
    tally = {"primary": 9, "backup": 1}
    assert asking.short(tally, 60) == "10/60  backup 1  primary 9"
    assert asking.table(tally) == ["primary     9   90%  ###########################", "backup      1   10%  ###"]
    assert asking.table({}) == []


def test_why_a_target_answered_is_told_from_headers_and_state() -> None:
    target = {"name": "a", "priority": 0, "weight": 1, "stance": "probing", "reason": "Failed", "until": None}
    pool = {"targets": [{**target, "share": 0.25, "drained": True}]}
    assert trying.explain({"pool": "chat", "target": "a", "attempts": "2", "config": "c0"}, pool) == [
        "pool chat -> target a, after 2 attempts (config c0)",
        "* a: probing (Failed), drained by hand, priority 0, weight 1 of 1, 25% of it while it comes back",
    ]
    kept = {"pool": "chat", "target": "a", "attempts": "0", "config": "c0", "cache": "hit"}
    assert trying.explain(kept, None) == ["pool chat -> target a, kept from an earlier request (config c0)"]
    assert trying.explain({"pool": "chat"}, None) == ["pool chat: no target answered"]
    assert trying.explain({}, None) == []


def test_an_address_is_taken_with_and_without_v1() -> None:
    assert Address.of_url("http://localhost:5000/v1/") == Address("http://localhost:5000", "http://localhost:5002")
    assert Address.of_port(4891) == Address("http://127.0.0.1:4891", "http://127.0.0.1:4893")
    with pytest.raises(UnreachableError, match="is not an address"):
        Address.of_url("http://localhost:port")
    assert Address.of_url("http://[::1]:5000/v1").admin == "http://[::1]:5002"
    assert Address.of_url("https://llm.example/v1") == Address("https://llm.example", "")
    assert Address.of_url("https://llm.example/v1", "http://127.0.0.1:1/") == Address(
        "https://llm.example", "http://127.0.0.1:1"
    )
    with pytest.raises(UnreachableError, match="is not an address"):
        client.get("http://localhost:port/x")


def test_a_script_is_judged_as_in_a_provider(tmp_path: Path) -> None:
    file = tmp_path / "script.yaml"
    file.write_text("- {requests: 3, status: 500}\n- {for: 1s, status: 429}\n- {}\n")
    steps = faking.read_script(file).script
    assert [(step.requests, step.duration, step.status) for step in steps] == [
        (3, None, 500), (None, 1000, 429), (None, None, None),
    ]  # fmt: skip
    for text, sentence in [
        ("- {}\n- {requests: 0}\n", r"script\.yaml:2: fake\.script\[1\]\.requests must be between 1 and"),
        ("a: [", r"script\.yaml:1: "),
        ("", "one list of steps must stand here"),
    ]:
        file.write_text(text)
        with pytest.raises(faking.ScriptError, match=sentence):
            faking.read_script(file)
    with pytest.raises(faking.ScriptError, match="cannot read"):
        faking.read_script(tmp_path / "no")


def test_trying_where_nothing_runs_is_answered_with_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with closed_port() as port:
        assert trying.attempt(Address.of_port(port), "chat", "hi", stream=True, as_json=False) == 1
        assert "nothing runs at" in capsys.readouterr().err


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that is held and on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]
