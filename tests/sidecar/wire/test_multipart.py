"""Forms: what is found in them, what is exchanged, and what two readers could take for different things (B40, B43)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_sidecar.core import formparameters, multipart, parameters, request
from modelpool_sidecar.core.multipart import NotFormError
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.fake import form as reader
from modelpool_sidecar.fake.form import Upload

B = b"xyz"
TYPE = "multipart/form-data; boundary=xyz"
MODEL = b'Content-Disposition: form-data; name="model"'
FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav'


def body(*parts: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"--xyz\r\n%b\r\n\r\n%b\r\n" % part for part in parts) + b"--xyz--\r\n"


WHOLE = body((FILE, b"RIFF\r\n--xy\r\n\x00\xff"), (MODEL, b"whisper"))


def asked(content: bytes, content_type: str = TYPE, path: str = "/v1/audio/transcriptions", **headers: str) -> object:
    named = {"host": "localhost", "content-type": content_type, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return request.parse("POST", path, tuple(named.items()), content)


def test_the_fields_of_a_form_stand_where_they_are_said_to() -> None:
    form = multipart.parse(WHOLE, B)
    assert [(field.name, field.is_file) for field in form.fields] == [("file", True), ("model", False)]
    assert [WHOLE[field.start : field.end] for field in form.fields] == [b"RIFF\r\n--xy\r\n\x00\xff", b"whisper"]
    assert multipart.parse(b"preamble\r\n" + WHOLE + b"epilogue", B).fields[1].name == "model"
    assert multipart.parse(b"--xyz--", B).fields == ()


NAMELESS = "a part does not say its name (Content-Disposition: form-data; name=...)"
MISPLACED = "a delimiter does not stand after a line end of its own"
ENCODED = "a part is encoded once more (Content-Transfer-Encoding)"

BROKEN: list[tuple[bytes, str]] = [
    (b"", "the boundary that Content-Type names does not end it"),
    (b"--other\r\n", "the boundary that Content-Type names does not end it"),
    (WHOLE.removesuffix(b"--xyz--\r\n"), "the boundary that Content-Type names does not end it"),
    (b"--xyz\n" + MODEL + b"\n\nchat\n--xyz--", "a line begins with the boundary and goes on after it"),
    (b"--xyzz\r\n--xyz--", "a line begins with the boundary and goes on after it"),
    (body((MODEL, b"chat\n--xyz\r\n" + MODEL + b"\r\n\r\nother")), MISPLACED),
    (b"--xyz\r\n" + MODEL + b"\r\n\r\n--xyz--", "the boundary that Content-Type names does not end it"),
    (b"--xyz\r\n" + MODEL + b"\r\n\r\n--xyz\r\n--xyz--", MISPLACED),
    (b"--xyz\r\n" + b"a: " + b"b" * 17000 + b"\r\n\r\n\r\n--xyz--", "a part has no head, or one larger than 16 KiB"),
    (body((b"Content-Type: text/plain", b"x")), NAMELESS),
    (body((b"Content-Disposition: form-data", b"x")), NAMELESS),
    (body((b'Content-Disposition: attachment; name="a"', b"x")), NAMELESS),
    (body((MODEL + b"; name=file", b"x")), "a part says its name in more than one way"),
    (body((MODEL + b"; name*=utf-8''file", b"x")), "a part says its name in more than one way"),
    (body((b'Content-Disposition: form-data; name="mod\\el"', b"x")), "a part says its name in more than one way"),
    (body((b'Content-Disposition: form-data; name="\xff"', b"x")), "the name of a part is not UTF-8"),
    (body((b'Content-Disposition: form-data; name="a', b"x")), "a part has a Content-Disposition that cannot be read"),
    (body((MODEL + b"\r\n " + b"more", b"x")), "a part has a head that is not plain"),
    (body((MODEL + b"\r\nContent-Disposition: form-data; name=b", b"x")), "a part has a head that is not plain"),
    (body((MODEL + b"\nContent-Type: text/plain", b"x")), "a part has a head that is not plain"),
    (body((MODEL + b"\r\nContent-Transfer-Encoding: base64", b"Y2hhdA==")), ENCODED),
    (body(*[(MODEL, b"x")] * 513), "it has more than 512 parts"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "sentence"), BROKEN, ids=range(len(BROKEN)))
def test_what_two_readers_may_understand_differently_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(NotFormError) as told:
        multipart.parse(content, B)
    assert str(told.value) == sentence
    refused = asked(content)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (400, "invalid_body")
    assert sentence in refused.message


REFUSED: list[tuple[bytes, str, str, str | None]] = [
    (WHOLE, "application/json", "unsupported_media_type", None),
    (WHOLE, "", "unsupported_media_type", None),
    (WHOLE, "multipart/form-data", "invalid_body", None),
    (WHOLE, "multipart/form-data; boundary=xyz; boundary=abc", "invalid_body", None),
    (WHOLE, f"multipart/form-data; boundary={'x' * 71}", "invalid_body", None),
    (body((FILE, b"x")), TYPE, "missing_model", "model"),
    (body((MODEL, b"a"), (MODEL, b"b")), TYPE, "duplicate_key", "model"),
    (body((FILE.replace(b'"file"', b'"model"'), b"a")), TYPE, "invalid_model", "model"),
    (body((MODEL, b"")), TYPE, "invalid_model", "model"),
    (body((MODEL, b"a\r\nb")), TYPE, "invalid_model", "model"),
    (body((MODEL, b"\xff")), TYPE, "invalid_model", "model"),
    (body((MODEL, b"a"), (MODEL.replace(b"model", b"stream"), b"perhaps")), TYPE, "invalid_stream", "stream"),
]


@pytest.mark.parametrize(("content", "content_type", "code", "param"), REFUSED, ids=range(len(REFUSED)))
def test_a_form_that_cannot_be_routed_is_refused(
    content: bytes, content_type: str, code: str, param: str | None
) -> None:
    refused = asked(content, content_type)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.param) == (code, param)


def test_a_form_comes_unencoded_and_no_model_ends_a_part() -> None:
    refused = asked(WHOLE, content_encoding="gzip")
    assert isinstance(refused, Refusal)
    assert refused.code == "unsupported_encoding"
    refused = asked(WHOLE, x_modelpool_model="--xyz--")
    assert isinstance(refused, Refusal)
    assert refused.message == "model must not begin with the boundary of the form"
    refused = asked(WHOLE, x_modelpool_model="a\tb")
    assert isinstance(refused, Refusal)
    assert refused.code == "invalid_model"


def test_the_models_name_is_exchanged_and_no_other_byte() -> None:
    one = asked(WHOLE)
    assert isinstance(one, Request)
    assert (one.model, one.stream) == ("whisper", False)
    assert openai.attempt_body(one, "whisper") is WHOLE
    assert openai.attempt_body(one, "w-2") == WHOLE.replace(b"whisper", b"w-2")


def test_a_model_that_the_header_names_is_put_before_all_parts() -> None:
    content = body((FILE, b"x"))
    one = asked(content, x_modelpool_model="chat")
    assert isinstance(one, Request)
    assert openai.attempt_body(one, "w") == body((MODEL, b"w"), (FILE, b"x"))
    empty = asked(b"--xyz--", path="/v1/images/variations", x_modelpool_model="m")
    assert isinstance(empty, Request)
    assert openai.attempt_body(empty, "m") == body((MODEL, b"m")).removesuffix(b"\r\n")


def test_a_form_without_a_model_is_sent_as_it_came_where_the_api_has_a_default() -> None:
    content = body((FILE.replace(b'"file"', b'"image"'), b"x"))
    one = asked(content, path="/v1/images/edits")
    assert isinstance(one, Request)
    assert one.model is None
    assert openai.attempt_body(one, "") is content


@pytest.mark.parametrize(("said", "stream"), [(b"true", True), (b"True", True), (b"false", False), (b"", False)])
def test_a_form_says_whether_it_wants_a_stream(said: bytes, stream: bool) -> None:
    content = body((MODEL, b"m"), (MODEL.replace(b"model", b"stream"), said))
    one = asked(content)
    assert isinstance(one, Request)
    assert one.stream is stream
    other = asked(content, path="/v1/audio/translations")
    assert isinstance(other, Request)
    assert other.stream is False


def changed(content: bytes, *changes: tuple[str, str, str | None], model: str | None = None) -> dict[str, object]:
    ready = parameters.merged([parameters.compiled(*change) for change in changes], [])
    form = multipart.parse(content, B)
    found = reader.read(TYPE, formparameters.apply(content, form, ready, model))
    assert found is not None
    return dict(found)


LANGUAGE = MODEL.replace(b"model", b"language")
HEAT = MODEL.replace(b"model", b"temperature")
LIST = MODEL.replace(b"model", b"include[]")


def test_parameters_hold_for_forms_in_the_terms_of_forms() -> None:
    content = body((FILE, b"RIFF"), (MODEL, b"whisper"), (LANGUAGE, b"de"), (HEAT, b"0.9"), (LIST, b"logprobs"))
    assert changed(content) == {
        "file": Upload("a.wav", "audio/wav", b"RIFF"),
        "model": "whisper",
        "language": "de",
        "temperature": "0.9",
        "include[]": "logprobs",
    }
    told = changed(
        content,
        ("language", "Set", '"en"'),
        ("temperature", "Max", "0.5"),
        ("include", "Remove", None),
        ("prompt", "Default", '"names: \\u00e9"'),
        ("response_format", "Set", '"json"'),
        ("chunking_strategy", "Default", '{"type":"server_vad"}'),
        ("seed", "Max", "5"),
        ("file", "Remove", None),
        model="w-2",
    )
    assert told == {
        "file": Upload("a.wav", "audio/wav", b"RIFF"),
        "model": "w-2",
        "language": "en",
        "temperature": "0.5",
        "prompt": "names: é",
        "response_format": "json",
        "chunking_strategy": '{"type":"server_vad"}',
    }


def test_a_ceiling_holds_over_what_is_no_number() -> None:
    content = body((HEAT, b"hot"))
    told = changed(content, ("temperature", "Max", "0.5"), ("seed", "Max", "5"), model="m")
    assert told == {"model": "m", "temperature": "0.5"}
    assert changed(body((HEAT, b"0.1")), ("temperature", "Max", "0.5"), ("seed", "Default", "3")) == {
        "temperature": "0.1",
        "seed": "3",
    }
    assert changed(body((HEAT, b"0.1")), ("temperature", "Default", "0.5")) == {"temperature": "0.1"}


def test_a_removed_field_can_be_set_anew_by_nobody_but_its_own_parameter() -> None:
    ready = [parameters.compiled("language", "Remove", None), parameters.compiled("language", "Default", '"en"')]
    content = body((LANGUAGE, b"de"), (MODEL, b"m"))
    out = formparameters.apply(content, multipart.parse(content, B), tuple(ready))
    assert out == body((LANGUAGE, b"en"), (MODEL, b"m"))


names = st.sampled_from(["model", "file", "language", "prompt"])


@given(
    st.dictionaries(names, st.binary(max_size=50), max_size=4),
    st.text("abc-/.", min_size=1, max_size=10),
    st.booleans(),
)
def test_no_byte_of_another_part_is_touched(fields: dict[str, bytes], model: str, header: bool) -> None:
    parts = [(MODEL, b"old") if name == "model" else (_file(name), value) for name, value in fields.items()]
    content = body(*parts)
    more = {"x_modelpool_model": "chat"} if header or "model" not in fields else {}
    one = asked(content, **more)
    if isinstance(one, Refusal):
        assert any(b"\n--xyz" in b"\n" + value for value in fields.values())
        return
    assert isinstance(one, Request)
    after = openai.attempt_body(one, model)
    wanted = [(MODEL, model.encode()) if part[0] is MODEL else part for part in parts]
    assert after == body(*(wanted if "model" in fields else [(MODEL, model.encode()), *parts]))


def _file(name: str) -> bytes:
    return FILE.replace(b'"file"', b'"%b"' % name.encode())
