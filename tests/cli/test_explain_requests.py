"""`modelpool explain`: a request in any form is explained, and a refusal is told as the sidecar tells it."""

import io
from pathlib import Path
from typing import Any

import pytest

from explain_support import run

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
        (["--operation", "chatt"], "--operation: none is called 'chatt'; did you mean chat? A path will do too, "),
        (["--operation", "zzz"], "--operation: none is called 'zzz'; a path will do, such as /v1/embeddings; "),
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
