"""`modelpool explain`: what it says is what the sidecar does, and a refusal is told as the sidecar tells it."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cli_process import ROOT
from modelpool_cli import explained
from modelpool_cli.__main__ import command

MANIFESTS = """\
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: big}
spec: {dialect: OpenAI, auth: {type: APIKey, apiKey: {secretRef: {name: openai, key: api-key}}}}
---
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: small}
spec:
  dialect: Fake
  models: [{name: tiny, capabilities: [Prefill]}]
  limits: {requests: [{name: account, max: 30, per: 1m}]}
---
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: resting}
spec: {dialect: Fake, traffic: Drained}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: chat}
spec:
  models: [{name: chat}, {name: "gpt-*"}]
  limits:
    requests: [{name: minute, max: 60, per: 1m, burst: 10}]
    concurrency: {max: 8, queue: {max: 4, timeout: 5s}}
  timeouts: {total: 90s}
  streaming: {headHold: 10s, recovery: [Continue, Replay]}
  hedging: {percentile: 95}
  cache: {mode: Exact}
  targets:
  - {name: big, providerRef: {name: big}, model: gpt-4o, weight: 70, limits: {requests: [{name: few, max: 5, per: 1m}]}}
  - {name: small, providerRef: {name: small}, model: tiny, weight: 30}
  - {name: spare, providerRef: {name: small}, priority: 1}
  - {name: resting, providerRef: {name: resting}, model: m, priority: 1}
  - {name: gone, providerRef: {name: nobody}}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: asleep}
spec:
  pinning: Denied
  targets: [{name: resting, providerRef: {name: resting}, model: m}]
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: shut}
spec:
  targets: [{name: gone, providerRef: {name: nobody}, model: m}]
"""
KEY = "sk-canary-0123456789"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "all.yaml").write_text(MANIFESTS)
    return tmp_path


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def run(folder: Path, *words: str) -> int:
    secret = ["--secret", "openai/api-key=env:KEY"]
    return command(["explain", "-f", str(folder), *secret, *words], {"KEY": KEY}, "modelpool")


@pytest.fixture
def told(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """The exit code and the JSON of an explanation."""

    def ask(*words: str) -> tuple[int, Any]:
        code = run(folder, *words, "-o", "json")
        out = capsys.readouterr().out
        assert KEY not in out
        return code, json.loads(out)

    return ask


def test_the_pool_the_order_and_the_share_of_the_first_choice_are_the_sidecars_own(told: Any) -> None:
    code, seen = told("--model", "chat", "--stream")
    assert code == 0
    assert seen["request"] == {
        "operation": "chat",
        "method": "POST",
        "path": "/v1/chat/completions",
        "model": "chat",
        "stream": True,
        "caller": None,
    }
    assert (seen["pool"]["name"], seen["pool"]["rule"], seen["pool"]["by"]) == ("chat", "exact", "chat")
    first = {each["name"]: each["first"] for each in seen["targets"]}
    assert first == {"big": 0.7, "small": 0.3, "spare": 0, "resting": 0, "gone": 0}
    skipped = {each["name"]: each["skipped"] for each in seen["targets"]}
    assert skipped == {"big": None, "small": None, "spare": None, "resting": "drained", "gone": "ProviderNotFound"}
    walk = seen["walk"]["attempts"]
    assert [each["target"] for each in walk][:3] == ["big", "small", "spare"]
    assert walk[0]["url"] == "https://api.openai.com/v1/chat/completions"
    assert walk[0]["changes"]["model"] == "gpt-4o"
    assert walk[3]["again"]
    assert walk[3]["at"] > 0
    assert seen["walk"]["end"]["code"] == "upstream_unreachable"


def test_limits_fallback_and_deadlines_are_those_that_count(told: Any) -> None:
    _, seen = told("--model", "chat", "--header", "x-stainless-read-timeout=30")
    minute, concurrency, few, account = seen["limits"]
    assert (few["name"], few["max"]) == ("target big, few", 5)
    assert (account["name"], account["max"]) == ("provider small, account", 30), "two targets use it: it stands once"
    assert (minute["name"], minute["max"], minute["per"], minute["remaining"]) == ("minute", 60, 60.0, 9)
    queue = {"waiting": 0, "max": 4, "timeout": 5.0}
    assert concurrency == {"name": "concurrency", "max": 8, "inFlight": 1, "queue": queue}
    assert seen["fallback"]["maxAttempts"] == 4
    assert "Unreachable" in seen["fallback"]["outcomes"]
    assert seen["fallback"]["streaming"] == {"commit": "FirstToken", "headHold": 10, "keepAlive": 15}
    assert seen["fallback"]["recovery"] == {"Continue": ["small"], "Replay": ["big", "small", "spare", "resting"]}
    assert seen["fallback"]["hedging"] == {"percentile": 95, "delay": None, "maxPercent": 5}
    cache = {"ttl": 300.0, "maxEntries": 1000, "maxBytes": 67_108_864, "temperature": "Zero"}
    assert seen["cache"] == {**cache, "bypass": "its temperature is not 0"}
    assert (seen["deadlines"]["total"], seen["deadlines"]["client"]) == (90, 30)
    assert seen["deadlines"]["providers"]["big"] == {"connect": 5.0}
    _, streamed = told("--model", "chat", "--stream")
    assert streamed["deadlines"]["providers"]["big"] == {"connect": 5.0, "firstToken": 120.0, "idle": 120.0}


def test_what_is_kept_of_an_answer_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, "--model", "chat")
    assert (
        "answers are kept for 300 s, 1000 at most\n  this one is not: its temperature is not 0\n"
        in capsys.readouterr().out
    )
    asked = folder / "asked.json"
    asked.write_text('{"model": "chat", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}')
    run(folder, str(asked))
    assert "  this one may be\n" in capsys.readouterr().out
    run(folder, "--model", "asleep")
    assert "answers are kept" not in capsys.readouterr().out


@pytest.mark.parametrize(("model", "rule", "by"), [("chat", "exact", "chat"), ("gpt-5", "prefix", "gpt-*")])
def test_the_name_that_led_to_the_pool_is_told(told: Any, model: str, rule: str, by: str) -> None:
    _, seen = told("--model", model)
    assert (seen["pool"]["rule"], seen["pool"]["by"]) == (rule, by)


@pytest.mark.parametrize(
    ("hedging", "said"),
    [
        (
            {"percentile": 95, "delay": None, "maxPercent": 5},
            "after what 95 % of the last answers took, for at most 5 %",
        ),
        ({"percentile": None, "delay": 0.25, "maxPercent": 9}, "after 0.25 s, for at most 9 %"),
    ],
)
def test_when_a_second_target_is_asked_is_said_in_words(told: Any, hedging: dict[str, Any], said: str) -> None:
    _, seen = told("--model", "chat")
    seen["fallback"]["hedging"] = hedging
    out = io.StringIO()
    explained.show(seen, out, {})
    assert said in out.getvalue()


def test_a_pinned_target_is_the_only_one(told: Any) -> None:
    code, seen = told("--model", "chat", "--header", "x-modelpool-target=small")
    assert code == 0
    assert {each["name"]: each["first"] for each in seen["targets"] if each["first"]} == {"small": 1.0}
    assert next(each for each in seen["targets"] if each["name"] == "big")["skipped"] == "not for this request"
    assert {each["target"] for each in seen["walk"]["attempts"]} == {"small"}


CHOOSY = """
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: plain}
spec:
  dialect: OpenAI
  baseURL: http://plain.models.svc:8000/v1
  quotaDomain: acme
  health: {active: {path: /health, period: 20s, timeout: 1s, statuses: ["200", 3xx]}}
  models: [{name: m, capabilities: [JSONSchema]}]
---
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: other}
spec: {dialect: OpenAI, baseURL: "http://other.models.svc:8000/v1"}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: choosy}
spec:
  targets:
  - {name: plain, providerRef: {name: plain}, model: m}
  - {name: tenants, providerRef: {name: other}, match: {headers: [{name: x-tenant, value: gold}]}}
  - {name: rest, providerRef: {name: other}}
"""


def test_a_target_that_is_passed_over_says_what_it_lacks_or_asks_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "choosy.yaml").write_text(CHOOSY)
    request = {"model": "choosy", "messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}]}
    (tmp_path / "request.json").write_text(json.dumps(request))
    words = ["explain", str(tmp_path / "request.json"), "-f", str(tmp_path / "choosy.yaml")]
    assert command([*words, "-o", "json"], {}, "modelpool") == 0
    seen = json.loads(capsys.readouterr().out)
    assert {each["name"]: each["why"] for each in seen["targets"]} == {
        "plain": "it lacks Tools",
        "tenants": "it asks for x-tenant, which the request does not carry with its value",
        "rest": None,
    }
    assert "gold" not in json.dumps(seen)
    assert command([*words, "--header", "x-modelpool-target=rest"], {}, "modelpool") == 0
    assert "skipped: it lacks Tools" in capsys.readouterr().out
    assert (
        command([*words[:1], *words[2:], "--model", "choosy", "--header", "x-modelpool-target=rest"], {}, "modelpool")
        == 0
    )
    shown = capsys.readouterr().out
    assert "skipped: the request is for another target" in shown
    end = [line.strip() for line in shown.split("what else tells who is well")[1].splitlines() if line]
    assert " ".join(end) == (
        "plain: cools with all of quota domain acme; GET http://plain.models.svc:8000/health every 20 s, "
        "well with 200 or 3xx within 1 s"
    )


REFUSED = {
    "an unknown model": (["--model", "chta"], 404, "model_not_found", "did you mean 'chat'?"),
    "no model": ([], 400, "missing_model", "the body has no model"),
    "a closed pool": (["--model", "shut"], 503, "no_target", "there is no Provider nobody"),
    "a drained pool": (["--model", "asleep"], 503, "drained", "resting is drained"),
    "a target that is not there": (
        ["--model", "chat", "--header", "x-modelpool-target=nope"],
        400,
        "unknown_target",
        "there is big, small, spare, resting",
    ),
    "no pinning": (["--model", "asleep", "--header", "x-modelpool-target=resting"], 403, "pinning_denied", "asleep"),
    "a wrong path": (["--operation", "/chat/completions", "--model", "chat"], 404, "unknown_path", "set base_url to"),
    "a web page": (["--model", "chat", "--header", "Origin=https://evil.example"], 403, "foreign_origin", "web pages"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_is_explained_and_ends_with_1(
    folder: Path, told: Any, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    words, status, code, sentence = REFUSED[what]
    ended, seen = told(*words)
    assert ended == 1
    assert (seen["refusal"]["status"], seen["refusal"]["code"]) == (status, code)
    assert sentence in seen["refusal"]["message"]
    assert run(folder, *words) == 1
    assert f"refused: {status} {code}" in capsys.readouterr().out


def test_a_drained_pool_still_tells_its_targets(told: Any) -> None:
    _, seen = told("--model", "asleep")
    assert [(each["name"], each["why"]) for each in seen["targets"]] == [("resting", "is drained")]
    assert seen["walk"] == {"attempts": [], "end": None}


def test_a_body_comes_from_a_file_or_from_standard_input_and_flags_change_it(
    folder: Path, told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "request.json"
    file.write_text('{"model": "gpt-5", "messages": [], "stream": true}')
    _, seen = told(str(file))
    assert (seen["request"]["model"], seen["request"]["stream"]) == ("gpt-5", True)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"model": "gpt-5", "n": 2}')))
    _, seen = told("-", "--model", "chat", "--stream")
    assert (seen["request"]["model"], seen["request"]["stream"]) == ("chat", True)
    file.write_text("{")
    code, seen = told(str(file))
    assert (code, seen["refusal"]["code"]) == (1, "invalid_json")
    file.write_text('{"model": "chat", "messages": "' + "x" * 200_000 + '"}')
    _, seen = told(str(file))
    assert {each["name"]: each["first"] for each in seen["targets"] if each["first"]} == {"big": 0.7, "small": 0.3}


@pytest.mark.parametrize(("operation", "path"), [("embeddings", "/v1/embeddings"), ("responses", "/v1/responses")])
def test_other_operations_are_named_or_written_as_their_path(told: Any, operation: str, path: str) -> None:
    for spelled in (operation, path):
        code, seen = told("--model", "chat", "--operation", spelled)
        assert (code, seen["request"]["path"], seen["request"]["operation"]) == (0, path, operation)


def test_an_operation_that_takes_a_form_gets_one(told: Any) -> None:
    code, seen = told("--model", "chat", "--operation", "transcription", "--stream")
    assert (code, seen["request"]["path"], seen["request"]["stream"]) == (0, "/v1/audio/transcriptions", True)
    assert seen["walk"]["attempts"][0]["changes"] == {}
    code, seen = told("--operation", "image_edit")
    assert (code, seen["refusal"]["code"]) == (1, "missing_model")


def test_paths_without_a_model_are_explained_too(told: Any) -> None:
    for spelled in ("file_list", "GET /v1/files"):
        code, seen = told("--operation", spelled)
        assert (code, seen["request"]["method"], seen["request"]["path"]) == (1, "GET", "/v1/files")
        assert seen["refusal"]["code"] == "missing_pool"
    code, seen = told("--operation", "batch_get", "--header", "x-modelpool-pool=chat")
    assert (seen["request"]["path"], seen["refusal"]["code"]) == ("/v1/batches/ID", "no_stateful_target")
    code, seen = told(
        "--operation", "file_create", "--header", "x-modelpool-pool=chat", "--header", "x-modelpool-target=big"
    )
    assert (code, [each["target"] for each in seen["walk"]["attempts"]]) == (0, ["big", "big"])
    _, seen = told("--operation", "GET /v1/files/a%20b")
    assert seen["refusal"]["code"] == "unknown_path"


def test_what_the_sidecar_answers_itself_is_no_refusal(told: Any) -> None:
    code, seen = told("--operation", "models")
    assert (code, seen["refusal"]) == (0, None)
    assert {each["id"] for each in seen["answer"]["data"]} == {"chat", "gpt-*", "asleep", "shut"}
    assert told("--operation", "model", "--model", "nope")[0] == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--operation", "chatt"], "--operation must be one of chat, "),
        (["nowhere.json"], "cannot read nowhere.json"),
        (["all.yaml", "--model", "x"], "all.yaml is not JSON"),
        (["list.json", "--model", "x"], "list.json is no JSON object"),
        (["list.json", "--operation", "transcription"], "--operation transcription takes a form"),
        (["--namespace", "elsewhere", "--model", "x"], "nothing is in namespace elsewhere"),
    ],
)
def test_wrong_use_is_a_sentence_and_ends_with_2(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / "list.json").write_text("[]")
    assert run(folder / "all.yaml", *words) == 2
    assert sentence in capsys.readouterr().err


def test_without_a_pool_there_is_nothing_to_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.yaml").write_text("")
    assert run(tmp_path, "--model", "chat") == 2
    assert "there is no ModelPool in namespace default" in capsys.readouterr().err


def test_a_header_has_a_name_and_a_value(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(folder, "--header", "nothing")
    assert ended.value.code == 2
    assert "must be NAME=VALUE, not 'nothing'" in capsys.readouterr().err


def test_the_text_fits_a_terminal_and_has_colours_only_in_one(
    folder: Path, told: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--model", "chat") == 0
    plain = capsys.readouterr().out
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 96
    assert "problems of these manifests (modelpool check)" in plain
    seen = told("--model", "chat")[1]
    for env, coloured in (({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        screen = Screen()
        explained.show(seen, screen, env)
        assert ("\x1b[1m" in screen.getvalue()) is coloured


def test_the_page_shows_what_the_quickstart_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["explain", "-f", str(ROOT / "examples/quickstart"), "--model", "chat"], {}, "modelpool") == 0
    lines = capsys.readouterr().out.splitlines()
    page = (ROOT / "docs/cli.md").read_text()
    shown = page.partition("--model chat\n")[2].partition("...\n```")[0].splitlines()
    assert [line for line in shown if not line.startswith("pool ")] == [
        line for line in lines[: len(shown)] if not line.startswith("pool ")
    ]


CALLERS = """\
apiVersion: v1
kind: Secret
metadata: {name: team-keys}
stringData: {search: caller-canary-0123456789, billing: caller-canary-9876543210}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: gold}
spec:
  callers:
    keys: {secretRef: {name: team-keys}}
    entries:
    - name: search
      limits:
        requests: [{name: minute, max: 60, per: 1m}]
        tokens: [{name: minute, max: 9000, per: 1m}]
        concurrency: {max: 3}
  targets: [{name: small, providerRef: {name: small}, model: tiny, limits: {concurrency: {max: 2}}}]
"""


def test_a_pool_with_callers_is_explained_to_one_of_them_without_their_key(
    folder: Path, told: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "callers.yaml").write_text(CALLERS)
    code, seen = told("--model", "gold", "--caller", "search")
    assert (code, seen["request"]["caller"], seen["refusal"]) == (0, "search", None)
    own = [limit for limit in seen["limits"] if limit["name"] == "caller search, minute"]
    assert [(limit["max"], limit.get("count")) for limit in own] == [(60, None), (9000, "Total")]
    assert own[0]["remaining"] == 59
    code, seen = told("--model", "gold")
    assert (code, seen["refusal"]["code"]) == (1, "invalid_api_key")
    assert seen["refusal"]["headers"] == {"www-authenticate": 'Bearer realm="modelpool"'}
    code, seen = told("--model", "gold", "--header", "authorization=Bearer caller-canary-0123456789")
    assert (code, seen["request"]["caller"]) == (0, "search")
    assert run(folder, "--model", "gold", "--caller", "search") == 0
    shown = capsys.readouterr().out
    assert "model gold, whole answer, by search" in shown
    assert "caller search, concurrency: at most 3 at once, 2 left after it" in shown
    assert "target small, concurrency: at most 2 at once, 1 left after it" in shown
    assert run(folder, "--model", "gold", "--caller", "nobody") == 2
    assert "no caller 'nobody' has a key here; there is billing, search" in capsys.readouterr().err


def test_a_caller_where_no_pool_asks_for_a_key_is_wrong_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--model", "chat", "--caller", "search") == 2
    assert "no pool asks for one" in capsys.readouterr().err


CHAINED = """
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: local}
spec: {dialect: Fake}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: near}
spec:
  strategy: {type: RoundRobin}
  limits: {requests: [{name: minute, max: 9, per: 1m}], concurrency: {max: 4}}
  targets:
  - {name: east, providerRef: {name: local}, model: a}
  - {name: west, providerRef: {name: local}, model: b}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: chat}
spec:
  targets:
  - {name: near, poolRef: {name: near}, weight: 3, limits: {requests: [{name: hour, max: 5, per: 1h}]}}
  - {name: far, providerRef: {name: local}, model: c}
"""


def test_pools_behind_targets_are_told_with_their_targets_limits_and_strategy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """B7."""
    (tmp_path / "a.yaml").write_text(CHAINED)
    words = ["explain", "-f", str(tmp_path), "--model", "chat"]
    assert command([*words, "-o", "json"], {}, "modelpool") == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["name"]: round(each["first"], 2) for each in told["targets"]} == {
        "far": 0.25, "near/east": pytest.approx(0.375, abs=0.05), "near/west": pytest.approx(0.375, abs=0.05),
    }  # fmt: skip
    assert told["behind"] == [{"name": "near", "pool": "near", "strategy": "RoundRobin", "weight": 3}]
    assert [limit["name"] for limit in told["limits"]] == [
        "pool near, concurrency", "target chat/near, hour", "pool near, minute",
    ]  # fmt: skip
    assert len(told["walk"]["attempts"]) == 3
    assert command(words, {}, "modelpool") == 0
    text = capsys.readouterr().out
    assert "near/...: those of pool near, chosen by its strategy RoundRobin; together weight 3" in text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_an_end_after_an_early_head_is_told_as_the_error_event_that_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    """B24."""
    (tmp_path / "all.yaml").write_text(
        "apiVersion: modelpool.dev/v1alpha1\nkind: Provider\nmetadata: {name: small}\nspec: {dialect: Fake}\n---\n"
        "apiVersion: modelpool.dev/v1alpha1\nkind: ModelPool\nmetadata: {name: chat}\nspec:\n"
        "  streaming: {headHold: 0s}\n  targets: [{name: a, providerRef: {name: small}, model: x}]\n"
        "  fallback: {sameTarget: {retries: 1, backoff: {initial: 9s, max: 9s}}}\n",
        encoding="utf-8",
    )
    assert run(tmp_path, "--model", "chat", "--stream", "--operation", path) == 0
    assert "\n  then an error event, upstream_unreachable\n" in capsys.readouterr().out
