"""`modelpool run` as a person uses it: a process, real sockets, files that change."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_process import ROOT, Running, admin, chat, clean_env, modelpool
from modelpool_cli.freeports import free_port

POOL = """\
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: chat}
spec:
  targets:
  - {name: one, providerRef: {name: one}, model: m, weight: 1}
  - {name: two, providerRef: {name: two}, model: m, weight: 0}
"""
PROVIDERS = """\
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: one}
spec: {dialect: Fake}
---
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: two}
spec: {dialect: Fake}
"""
SLOW = "{dialect: Fake, fake: {script: [{firstToken: 30s}]}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pool.yaml").write_text(POOL)
    (tmp_path / "providers.yaml").write_text(PROVIDERS)
    return tmp_path


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    with Running("run", "-f", str(folder), "--port", "0") as started:
        yield started


def test_the_quickstart_answers_and_its_printed_lines_are_true() -> None:
    with Running("run", "-f", "examples/quickstart", "--port", "0", env={"MODELPOOL_STARTED_BY": "make"}) as run:
        port = run.port()
        run.until(r"curl http://127\.0\.0\.1:\d+/v1/chat/completions")
        run.until(r"^pool +target +attempts")
        status, headers, body = chat(port)
        assert status == 200
        name = headers["x-modelpool-target"]
        assert f"I am {name} as " in body["choices"][0]["message"]["content"]
        assert f"make break NAME={name}" in body["choices"][0]["message"]["content"]
        run.until(rf"^chat +{name} +1 +- +\d+\+\d+ +\d+\.\d\d s$")
        run.signal(signal.SIGINT)
        assert run.ended() == 0


def test_an_edited_weight_changes_who_answers(running: Running, folder: Path) -> None:
    port = running.port()
    assert chat(port)[1]["x-modelpool-target"] == "one"
    (folder / "pool.yaml").write_text(POOL.replace("weight: 1", "weight: 2").replace("weight: 0", "weight: 9"))
    running.until(r"^\* pool chat: one weight 1 -> 2, pool chat: two weight 0 -> 9$")
    assert {chat(port)[1]["x-modelpool-target"] for _ in range(60)} == {"one", "two"}


def test_a_broken_edit_is_told_with_its_line_and_the_last_good_config_goes_on(running: Running, folder: Path) -> None:
    port = running.port()
    (folder / "pool.yaml").write_text(POOL.replace("weight: 1", "weight: -5"))
    running.until(r"^! .*pool\.yaml:6: targets\[0\]\.weight must be .* not -5$")
    running.until(r"^! ModelPool chat: its last good form goes on$")
    assert chat(port)[0] == 200
    (folder / "pool.yaml").write_text(POOL.replace("targets:", "targets: ["))
    running.until(r"^! .*pool\.yaml:\d+: ")
    running.until(r"^! the last good config goes on$")
    assert chat(port)[0] == 200
    (folder / "pool.yaml").unlink()
    running.until(r"^\* .*pool chat is gone.*; no ModelPool is left in namespace default: requests are answered 404$")
    assert (chat(port)[0], chat(port)[2]["error"]["code"]) == (404, "model_not_found")
    (folder / "providers.yaml").unlink()
    running.until(r"^! the folder .* holds no file")
    (folder / "providers.yaml").write_text(PROVIDERS)
    (folder / "pool.yaml").write_text(POOL.replace("weight: 1", "weight: 3"))
    running.until(r"^\* pool chat is new")
    assert chat(port)[0] == 200


def test_break_ask_try_and_mend_work_on_what_runs(running: Running) -> None:
    port = str(running.port())
    broken = modelpool("break", "one", "--as", "429", "--port", port)
    assert (broken.returncode, broken.stdout) == (0, "one fails: 429\n")
    assert chat(int(port))[1]["x-modelpool-target"] == "two"
    running.until(r"^chat +two +2 .* after one RateLimited$")
    asked = modelpool("ask", "chat", "--count", "6", "--rate", "50", "--port", port)
    assert (asked.returncode, asked.stdout) == (0, "two     6  100%  ##############################\n")
    tried = modelpool("try", "chat", "hello", "--port", port)
    assert tried.stdout.startswith("I am two as m")
    assert "* two: serving, priority 0, weight 0 of 1" in tried.stderr
    assert re.search(r"- one: cooling \(RateLimited\) for [\d.]+ s more, priority 0, weight 1 of 1", tried.stderr)
    assert modelpool("mend", "one", "--port", port).stdout == "one is mended\n"
    pinned = modelpool("try", "chat", "hello", "--stream", "--url", f"http://127.0.0.1:{port}/v1", "-o", "json")
    assert '"target": "' in pinned.stdout


def test_slips_are_answered_with_a_sentence(running: Running) -> None:
    port = str(running.port())
    unknown = modelpool("try", "chatt", "hello", "--port", port)
    assert unknown.returncode == 1
    assert "chat" in unknown.stderr
    assert "no Fake provider is called 'on'; there is one, two" in modelpool("break", "on", "--port", port).stderr
    assert modelpool("break", "one", "--as", "Maybe", "--port", port).returncode == 1
    refused = modelpool("ask", "nobody", "--count", "2", "--rate", "50", "--port", port)
    assert refused.returncode == 1
    assert refused.stdout.startswith("refused 404")


def test_a_pool_with_callers_is_asked_with_the_key_of_one_which_stands_on_no_command_line(folder: Path) -> None:
    callers = "  callers: {keys: {secretRef: {name: team-keys}}}\n"
    (folder / "pool.yaml").write_text(POOL + callers)
    (folder / "key").write_text("sk-of-search-0123456789abcdef\n")
    key = {"SEARCH_KEY": "sk-of-search-0123456789abcdef"}
    given = "team-keys/search=env:SEARCH_KEY"
    with Running("run", "-f", str(folder), "--port", "0", "--secret", given, env=key) as started:
        port = str(started.port())
        without = modelpool("try", "chat", "hi", "--port", port)
        assert without.returncode == 1
        assert "401" in without.stderr
        for source in ("env:SEARCH_KEY", f"file:{folder / 'key'}"):
            tried = modelpool("try", "chat", "hi", "--key", source, "--port", port, env=key)
            assert tried.returncode == 0
            assert "pool chat -> target one" in tried.stderr
        asked = modelpool(
            "ask", "chat", "--count", "3", "--rate", "50", "--key", "env:SEARCH_KEY", "--port", port, env=key
        )
        assert asked.returncode == 0
        assert "one     3  100%" in asked.stdout
        unset = modelpool("ask", "chat", "--key", "env:NOBODY", "--port", port)
        assert (unset.returncode, unset.stderr) == (2, "modelpool: --key: the variable NOBODY is not set\n")
        bare = modelpool("try", "chat", "hi", "--key", "sk-of-search-0123456789abcdef")
        assert bare.returncode == 2
        assert "a key comes from a variable or a file" in bare.stderr
        assert "0123456789abcdef" not in bare.stderr


@pytest.mark.parametrize("words", [("try", "chat", "x"), ("ask", "chat"), ("break", "one"), ("mend", "one")])
def test_nothing_running_is_answered_with_what_to_do(words: tuple[str, ...]) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: refused for sure
        port = held.getsockname()[1]
        admin = f"http://127.0.0.1:{port}"
        ended = modelpool(*words, "--port", str(port), "--admin", admin)
    assert ended.returncode == 1
    assert f"nothing runs at http://127.0.0.1:{port}: start it in another terminal" in ended.stderr


def test_a_held_port_names_its_holder_and_a_way_out(running: Running, folder: Path) -> None:
    port = running.port()
    second = modelpool("run", "-f", str(folder), "--port", str(port))
    assert second.returncode == 1
    assert f"port {port} is held by process {running.process.pid} (" in second.stderr
    assert re.search(r"or take other ports: --port \d+", second.stderr)


def test_the_first_ctrl_c_gives_requests_a_second_and_the_second_ends_at_once(folder: Path) -> None:
    (folder / "providers.yaml").write_text(PROVIDERS.replace("{dialect: Fake}", SLOW))
    for interrupts in (1, 2):
        with Running("run", "-f", str(folder), "--port", "0") as run:
            port = run.port()
            run.until(r"^pool +target")
            with socket.create_connection(("127.0.0.1", port)) as client:
                body = b'{"model":"chat","messages":[{"role":"user","content":"x"}]}'
                head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
                client.sendall(head.encode() + body)
                while admin(port, "state")["pools"][0]["inFlight"] != 1:
                    pass
                run.signal(signal.SIGINT)
                run.until(r"^ending: 1 in flight get 1 s; once more ends at once$")
                if interrupts == 2:
                    run.signal(signal.SIGINT)
                assert run.ended() == 0


def test_ask_is_interrupted_at_once_while_its_requests_hang(folder: Path) -> None:
    (folder / "providers.yaml").write_text(PROVIDERS.replace("{dialect: Fake}", SLOW))
    with Running("run", "-f", str(folder), "--port", "0") as run:
        port = run.port()
        with Running("ask", "chat", "--count", "3", "--rate", "50", "--port", str(port)) as asking:
            while admin(port, "state")["pools"][0]["inFlight"] != 3:
                pass
            asking.signal(signal.SIGINT)
            asking.until(r"^  ended after 0 answers of 3$")
            assert asking.ended() == 130


def test_what_nohup_ignores_ends_nothing(folder: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a child inherits it, as it does from nohup
    try:
        run = Running("run", "-f", str(folder), "--port", "0")
    finally:
        signal.signal(signal.SIGHUP, before)
    with run:
        port = run.port()
        run.until(r"^pool +target")
        run.signal(signal.SIGHUP)
        assert chat(port)[0] == 200
        run.until(r"^chat +one")
        run.signal(signal.SIGTERM)
        assert run.ended() == 0


def test_a_reader_that_has_left_ends_nothing_and_leaves_no_trace(folder: Path) -> None:
    reader, writer = os.pipe()
    with (
        (folder.parent / "errors").open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "modelpool_cli", "run", "-f", str(folder), "--port", "0"],
            env=clean_env(),
            cwd=ROOT,
            stdout=writer,
            stderr=errors,
        ) as run,
    ):
        os.close(writer)
        with os.fdopen(reader, "r") as lines:
            found = re.search(r"127\.0\.0\.1:(\d+)/v1", lines.readline())
            assert found is not None
        assert [chat(int(found[1]))[0] for _ in range(3)] == [200, 200, 200]
        run.terminate()
        assert run.wait(20) == 0
    assert (folder.parent / "errors").read_text() == ""


def test_sigterm_ends_it_clean(running: Running) -> None:
    running.port()
    running.until(r"^pool +target")
    running.signal(signal.SIGTERM)
    assert running.ended() == 0


def test_a_program_gets_our_address_and_its_code_is_ours(folder: Path) -> None:
    code = "import os; print(os.environ['OPENAI_BASE_URL'], os.environ['OPENAI_API_KEY']); raise SystemExit(7)"
    ended = modelpool("run", "-f", str(folder), "--port", "0", "--", sys.executable, "-c", code)
    assert ended.returncode == 7
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1 unused\n", ended.stdout)
    assert re.search(r"answers on http://[^ ]+; running python[\d.]*$", ended.stderr, re.MULTILINE)


def test_a_program_that_is_ended_by_a_signal_gives_128_and_more(folder: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert modelpool("run", "-f", str(folder), "--port", "0", "--", sys.executable, "-c", code).returncode == 137
    missing = modelpool("run", "-f", str(folder), "--port", "0", "--", "no-such-program")
    assert (missing.returncode, "there is no program no-such-program" in missing.stderr) == (127, True)


def test_signals_reach_the_program(folder: Path) -> None:
    code = "import signal, time; signal.signal(15, lambda *_: exit(9)); print('up', flush=True); time.sleep(60)"
    with Running("run", "-f", str(folder), "--port", "0", "--", sys.executable, "-c", code) as run:
        run.until("^up$")
        run.signal(signal.SIGTERM)
        assert run.ended() == 9


def test_a_second_interrupt_ends_a_program_that_does_not_want_to_end(folder: Path) -> None:
    code = (
        "import signal, time\n"
        "signal.signal(2, lambda *_: print('not yet', flush=True))\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(60)\n"
    )
    with Running("run", "-f", str(folder), "--port", "0", "--", sys.executable, "-c", code) as run:
        run.until("^up$")
        run.signal(signal.SIGINT)
        run.until("^not yet$")
        run.signal(signal.SIGINT)
        assert run.ended() == 137


def test_in_a_terminal_a_program_takes_as_many_interrupts_as_it_likes(folder: Path) -> None:
    take_terminal = (
        "import fcntl, os, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\nos.execv(sys.argv[1], sys.argv[1:])\n"
    )
    code = (
        "import signal, time\n"
        "def heard(*_):\n"
        "    heard.times += 1\n"
        "    print('heard', heard.times, flush=True)\n"
        "    if heard.times == 3: raise SystemExit(5)\n"
        "heard.times = 0\n"
        "signal.signal(2, heard)\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(60)\n"
    )
    ours = [sys.executable, "-m", "modelpool_cli", "run", "-f", str(folder), "--port", "0"]
    master, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", take_terminal, *ours, "--", sys.executable, "-c", code],
        env=clean_env(),
        cwd=ROOT,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as run:
        os.close(terminal)
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        for times in (1, 2, 3):
            os.write(master, b"\x03")
            assert run.stdout.readline() == f"heard {times}\n"
        assert run.wait(20) == 5
    os.close(master)


def test_a_file_that_is_no_program_is_said_so(folder: Path) -> None:
    ended = modelpool("run", "-f", str(folder), "--port", "0", "--", str(folder / "pool.yaml"))
    assert (ended.returncode, "cannot start" in ended.stderr) == (126, True)


def test_a_key_alone_makes_a_proxy_for_every_model(tmp_path: Path) -> None:
    with Running("fake-provider") as provider:
        upstream = provider.port()
        env = {"OPENAI_API_KEY": "sk-secret-1", "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1"}
        with Running("run", "--port", "0", env=env, cwd=tmp_path) as run:
            port = run.port()
            status, headers, body = chat(port, "gpt-anything")
            assert (status, headers["x-modelpool-pool"]) == (200, "openai")
            assert body["model"] == "gpt-anything"
            provider.until(r"^POST /v1/chat/completions  model gpt-anything  200 Answered")
            run.signal(signal.SIGINT)
            assert run.ended() == 0
            assert not any("sk-secret-1" in line for line in run.lines)
        provider.signal(signal.SIGINT)
        assert provider.ended() == 0


def test_our_own_address_in_the_environment_is_not_taken_for_the_upstream(tmp_path: Path) -> None:
    own = free_port(20_000 + os.getpid() % 1_000 * 10)  # other runs on this machine look elsewhere
    env = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": f"http://localhost:{own}/v1"}
    with Running("run", "--port", str(own), env=env, cwd=tmp_path) as run:
        assert run.port() == own
        assert admin(own, "config")["providers"][0]["baseUrl"] == "https://api.openai.com/v1"


def test_with_neither_key_nor_manifests_it_says_how_to_get_either() -> None:
    ended = modelpool("run")
    assert ended.returncode == 2
    assert "OPENAI_API_KEY=... " in ended.stderr
    assert "-f DIR" in ended.stderr


def test_a_start_without_any_good_pool_ends_with_1(folder: Path) -> None:
    (folder / "pool.yaml").write_text(POOL.replace("weight: 1", "weight: x").replace("weight: 0", "weight: y"))
    ended = modelpool("run", "-f", str(folder), "--port", "0")
    assert ended.returncode == 1
    assert "pool.yaml:6: targets[0].weight must be a whole number" in ended.stderr
    assert "nothing to run in namespace default: no pool can serve" in ended.stderr


def test_a_key_from_a_file_reaches_the_provider_and_its_rotation_too(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-first\n")
    with Running("fake-provider") as provider:
        upstream = provider.port()
        folder = tmp_path / "manifests"
        folder.mkdir()
        (folder / "all.yaml").write_text(
            (ROOT / "examples/openai/openai.yaml")
            .read_text()
            .replace("dialect: OpenAI", f"dialect: OpenAI\n  baseURL: http://127.0.0.1:{upstream}/v1")
        )
        with Running("run", "-f", str(folder), "--port", "0", "--secret", f"openai/api-key=file:{key}") as run:
            port = run.port()
            assert chat(port)[0] == 200
            key.write_text("sk-second\n")
            run.until(r"^\* new keys$")
            assert chat(port)[0] == 200


def test_several_namespaces_need_a_choice(folder: Path) -> None:
    text = PROVIDERS.partition("---")[0].replace("{name: one}", "{name: one, namespace: team}")
    (folder / "team.yaml").write_text(text)
    ended = modelpool("run", "-f", str(folder), "--port", "0")
    assert ended.returncode == 2
    assert "there are several namespaces: choose one with --namespace default or team" in ended.stderr
    with Running("run", "-f", str(folder), "--port", "0", "--namespace", "default") as run:
        assert chat(run.port())[0] == 200


NESTED = """
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: outer}
spec:
  targets:
  - {name: inner, poolRef: {name: chat}}
"""


def test_a_pool_of_pools_answers_with_the_way_and_a_circle_is_told_where_it_stands(folder: Path) -> None:
    """B7."""
    (folder / "outer.yaml").write_text(NESTED)
    with Running("run", "-f", str(folder), "--port", "0") as run:
        port = run.port()
        status, headers, _ = chat(port, "outer")
        assert (status, headers["x-modelpool-target"]) == (200, "inner/one")
        run.until(r"^outer +inner/one +1 ")
        tried = modelpool("try", "outer", "hello", "--port", str(port))
        assert "* inner/one: serving, priority 0, weight 1 of 1 in pool chat" in tried.stderr
        (folder / "outer.yaml").write_text(NESTED.replace("poolRef: {name: chat}", "poolRef: {name: chat}, weight: 3"))
        run.until(r"^\* pool outer: inner weight 1 -> 3$")
        (folder / "outer.yaml").write_text(NESTED + "  - {name: self, poolRef: {name: outer}}\n")
        run.until(
            r"^! .*outer\.yaml:8: targets\[1\]\.poolRef\.name leads back here, so that the pool does without it: "
            r"outer -> outer$"
        )
        assert chat(port, "outer")[1]["x-modelpool-target"] == "inner/one"
