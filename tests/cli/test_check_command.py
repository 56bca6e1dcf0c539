"""`modelpool check`: golden outputs, exit codes, and what is no problem."""

import io
import json
from pathlib import Path

import pytest

from modelpool_cli.__main__ import command
from modelpool_cli.compiling import Compiler
from modelpool_cli.manifests import NoManifestsError, Source, read_files
from modelpool_cli.secrets import SecretError, parse, parse_key, read, read_key

BAD = """\
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata:
  name: openai
spec:
  dialect: OpenAl
  auth: {type: APIKey, apiKey: {secretRef: {name: openai, key: api-key}}}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: chat, namespace: team}
spec:
  targets:
  - name: mini
    providerRef: {name: openai}
    weight: -5
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
a: [
"""
LIST = """\
apiVersion: v1
kind: List
items:
- apiVersion: modelpool.dev/v1alpha1
  kind: Provider
  metadata: {name: one}
  spec: {dialect: Fake}
- apiVersion: modelpool.dev/v1alpha1
  kind: ModelPool
  metadata: {name: chat}
  spec:
    targets:
    - {name: one, providerRef: {name: one}, model: m}
    - {name: two, providerRef: {name: tow}, model: m}
"""
PROVIDER = """\
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: openai}
spec:
  dialect: OpenAI
  auth: {type: APIKey, apiKey: {secretRef: {name: openai, key: api-key}}}
"""
SECRET = """\
---
apiVersion: v1
kind: Secret
metadata: {name: openai}
"""
POOL = """\
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: chat}
spec:
  targets:
  - {name: one, providerRef: {name: openai}, model: m}
"""


def check(*words: str) -> int:
    return command(["check", *words], {}, "modelpool")


def test_every_problem_stands_with_file_line_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(BAD)
    assert check("-f", "bad.yaml") == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        'bad.yaml:6: dialect must be one of OpenAI, Fake, not "OpenAl"; did you mean OpenAI?',
        "bad.yaml:16: targets[0].weight must be between 0 and 1000000, not -5",
        "bad.yaml:22: a quote or bracket is not closed",
    ]
    assert captured.err.splitlines() == [
        "bad.yaml:19: Deployment web is skipped: no kind that is read here",
        "3 problems in 1 file",
    ]


def test_one_namespace_can_be_judged_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text(BAD.rpartition("---")[0])
    assert check("-f", str(tmp_path), "--namespace", "team") == 1
    assert capsys.readouterr().out.count("\n") == 1
    assert check("-f", str(tmp_path), "--namespace", "nowhere") == 2
    assert "nothing is in namespace nowhere; there is default, team" in capsys.readouterr().err


def test_a_kind_that_is_misspelt_is_a_problem_of_its_namespace_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "apiVersion: modelpool.dev/v1alpha1\nkind: Model Pool\nmetadata: {name: chat}\n---\n"
    (tmp_path / "a.yaml").write_text(text + PROVIDER)
    assert check("-f", str(tmp_path), "--namespace", "default") == 1
    assert 'not "Model Pool"; did you mean ModelPool?' in capsys.readouterr().out


def test_no_manifest_can_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steering = '{apiVersion: v1, kind: "Pod\\e[2J"}\n---\n{apiVersion: modelpool.dev/v1alpha1, kind: "Pool\\e[2J\\n"}\n'
    (tmp_path / "a.yaml").write_text(steering)
    assert check("-f", str(tmp_path)) == 1
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert (captured.out.count("\n"), r"Pod\x1b[2J" in captured.err) == (1, True)


def test_items_of_a_list_know_their_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.yaml").write_text(LIST)
    assert check("-f", str(tmp_path), "-o", "json") == 1
    data = json.loads(capsys.readouterr().out)
    (problem,) = data["problems"]
    assert (problem["line"], problem["object"], data["ok"]) == (14, "ModelPool default/chat", False)
    assert "kubectl" not in problem["message"]
    assert problem["field"] == "targets[1].providerRef.name"


def test_what_is_good_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    examples = Path(__file__).parents[2] / "examples"
    assert check("-f", str(examples / "quickstart")) == 0
    assert capsys.readouterr().out == "ok: 2 Providers and 1 ModelPool in namespace default\n"
    words = ["check", "-f", str(examples / "openai"), "--secret", "openai/api-key=env:KEY"]
    assert command(words, {"KEY": "sk-1"}, "modelpool") == 0
    assert capsys.readouterr().out == "ok: 1 Provider and 1 ModelPool in namespace default\n"
    assert command(words, {}, "modelpool") == 2
    assert "--secret openai/api-key: the variable KEY is not set" in capsys.readouterr().err


def test_a_secret_that_is_not_there_is_told_with_what_helps_on_disk(capsys: pytest.CaptureFixture[str]) -> None:
    examples = Path(__file__).parents[2] / "examples"
    assert check("-f", str(examples / "openai")) == 1
    assert "pass --secret openai/api-key=env:VARIABLE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "helps"),
    [
        (
            "data: {api-key: sk-abcde}",
            "what stands under data, {}:11, is taken as base64: plain text belongs in stringData",
        ),
        ("stringData: {api-key: sk-é}", "correct it at {}:11"),
        ("data: {api-key: IA==}", "correct it at {}:11"),
    ],
)
def test_a_key_that_cannot_be_sent_is_told_with_where_to_correct_it(
    part: str, helps: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(PROVIDER + SECRET + part.replace("sk-abcde", "/////w==") + "\n")
    assert check("-f", str(file)) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f"; {helps.format(file)}")


def test_a_key_from_elsewhere_that_cannot_be_sent_is_told_by_its_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(PROVIDER)
    words = ["check", "-f", str(tmp_path), "--secret", "openai/api-key=env:KEY"]
    assert command(words, {"KEY": "Bearer sk-1"}, "modelpool") == 1
    assert capsys.readouterr().out.endswith("; --secret openai/api-key must name the key itself\n")


def test_a_pool_without_a_key_refuses_on_disk_without_a_word_of_kubectl() -> None:
    blank = SECRET + "stringData: {api-key: ' '}\n"
    nobody = PROVIDER.replace("{name: openai}", "{name: else}")
    for text, missing in ((PROVIDER, True), (PROVIDER + blank, False), (nobody, False)):
        namespace = Compiler().compile([Source("a.yaml", (text + POOL).encode())]).of("default")
        assert namespace is not None
        (closed,) = namespace.config.closed
        assert "kubectl" not in closed.message
        assert ("--secret openai/api-key=env:VARIABLE" in closed.message) == missing


def test_a_target_without_a_key_is_left_out_without_a_word_of_kubectl() -> None:
    fake = "---\napiVersion: modelpool.dev/v1alpha1\nkind: Provider\nmetadata: {name: f}\nspec: {dialect: Fake}\n"
    text = PROVIDER + fake + POOL + "  - {name: two, providerRef: {name: f}, model: m}\n"
    namespace = Compiler().compile([Source("a.yaml", text.encode())]).of("default")
    assert namespace is not None
    (entry,) = namespace.config.pools[0].unresolved
    assert entry.message.endswith("pass --secret openai/api-key=env:VARIABLE")


def test_what_leads_nowhere_is_not_told_while_a_file_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(PROVIDER + POOL.replace("name: openai", "name: other"))
    (tmp_path / "b.yaml").write_text("a: [")
    assert check("-f", str(tmp_path)) == 1
    assert capsys.readouterr().out == f"{tmp_path}/b.yaml:1: a quote or bracket is not closed\n"


def test_what_stands_twice_is_told_with_the_line_of_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{PROVIDER}---\n{PROVIDER}")
    assert check("-f", str(file), "--secret", "openai/api-key=file:" + str(file)) == 1
    assert f"stands twice in namespace default; the first one, {file}:3, holds\n" in capsys.readouterr().out


def test_a_slip_in_the_version_is_a_problem_and_somebody_elses_kind_is_skipped_by_its_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(PROVIDER.replace("modelpool.dev", "modelpol.dev"))
    assert check("-f", str(tmp_path)) == 1
    assert 'a.yaml:1: apiVersion must be modelpool.dev/v1alpha1, not "modelpol.dev/v1alpha1"' in capsys.readouterr().out
    (tmp_path / "a.yaml").write_text(PROVIDER.replace("modelpool.dev", "pkg.crossplane.io"))
    assert check("-f", str(tmp_path)) == 0
    assert capsys.readouterr().err.endswith(
        "a.yaml:1: Provider openai is skipped: its apiVersion is pkg.crossplane.io/v1alpha1, "
        "and modelpool.dev/v1alpha1 is read here\n"
    )


def test_standard_input_is_read_once_and_not_followed() -> None:
    (source,) = read_files([Path("-")], io.BytesIO(b"a: 1"))
    assert (source.name, source.data) == ("standard input", b"a: 1")
    with pytest.raises(NoManifestsError, match="name a file or a folder"):
        read_files([Path("-")])


def test_paths_that_lead_nowhere_are_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("-f", str(tmp_path / "no")) == 2
    assert "there is no file or folder" in capsys.readouterr().err
    (tmp_path / ".hidden.yaml").write_text("a: [")
    assert check("-f", str(tmp_path)) == 2
    assert "holds no file that ends in .yaml, .yml, .json" in capsys.readouterr().err
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert check("-f", str(tmp_path)) == 0
    assert capsys.readouterr().out == "ok: no Provider and no ModelPool is there\n"


def test_secrets_come_from_variables_and_files_and_never_from_the_command_line(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"sk-1\n")
    given = [parse("a/k=env:VAR"), parse(f"b/k=file:{key}")]
    assert read(given, {"VAR": "x"}) == {("a", "k"): b"x", ("b", "k"): b"sk-1\n"}
    with pytest.raises(SecretError, match="the variable VAR is empty"):
        read(given, {"VAR": ""})
    with pytest.raises(SecretError, match="cannot read"):
        read([parse(f"a/k=file:{tmp_path}/no")], {})
    key.write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(SecretError, match="larger than"):
        read(given, {"VAR": "x"})


@pytest.mark.parametrize("text", ["a=env:X", "a/k", "a/k=sk-123", "a/k=vault:x", "/k=env:X", "a/b/k=env:X", "a/k=env:"])
def test_a_secret_option_that_is_none_is_answered_with_its_shape(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        check("-f", ".", "--secret", text)
    assert ended.value.code == 2
    assert "NAME/KEY=env:VARIABLE or NAME/KEY=file:PATH" in capsys.readouterr().err


def test_a_callers_key_that_is_none_is_refused_without_repeating_it(tmp_path: Path) -> None:
    assert read_key(None, {}) is None
    assert read_key(parse_key("env:KEY"), {"KEY": " sk-1\n"}) == "sk-1"
    (tmp_path / "key").write_text("\n")
    with pytest.raises(SecretError, match=r"^--key file:.*key is empty$"):
        read_key(parse_key(f"file:{tmp_path}/key"), {})
    with pytest.raises(SecretError, match=r"^--key env:KEY is no key: it has characters that a header cannot carry$"):
        read_key(parse_key("env:KEY"), {"KEY": "sk-1\nx: y"})


CIRCLE = """
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: inner}
spec:
  targets:
  - {name: own, providerRef: {name: local}}
  - {name: back, poolRef: {name: outer}}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {name: outer}
spec:
  targets:
  - {name: own, providerRef: {name: local}}
  - name: inner
    poolRef: {name: inner}
---
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {name: local}
spec: {dialect: Fake}
"""


def test_a_circle_of_pools_is_told_with_its_way_and_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """B7, on disk."""
    file = tmp_path / "pools.yaml"
    file.write_text(CIRCLE.lstrip())
    assert check("-f", str(file)) == 1
    without = "poolRef.name leads back here, so that the pool does without it"
    told = capsys.readouterr().out.splitlines()
    assert [line.partition("targets[1]")[2] for line in told] == [
        f".{without}: inner -> outer -> inner",
        f".{without}: outer -> inner -> outer",
    ]
    assert [line.split(":")[1] for line in told] == ["7", "16"]
