"""`modelpool explain`: what it says of a pool, its order, its limits and its inner pools is what the sidecar does."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cli_process import ROOT
from explain_support import run
from modelpool_cli import explained
from modelpool_cli.__main__ import command


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


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
    assert "spills" not in seen["fallback"], "a word of the code, printed as it stands there"
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


def test_a_retry_after_that_is_not_waited_for_is_told_as_that(told: Any) -> None:
    _, seen = told("--model", "chat")
    same = seen["fallback"]["sameTarget"]
    for longest, words in ((0.0, "Retry-After is not waited for"), (3.0, "Retry-After up to 3 s")):
        same["maxRetryAfter"] = longest
        assert any(text.endswith(words) for _, text in explained.lines(seen)), words


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
