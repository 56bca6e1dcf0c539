"""Requests that are no conversation, from their arrival to their end, on a clock that a test moves."""

import orjson

from builders import a_config, a_pool, a_provider, a_target
from modelpool_config.models import Parameter
from modelpool_sidecar.core.compiled import compile_config
from virtual import Bench

AUDIO = (("content-type", "audio/mpeg"), ("content-length", "8"))
TEXT = (("content-type", "text/plain; charset=utf-8"),)
FORM = {"content-type": "multipart/form-data; boundary=b"}


def a_bench(*, star: bool = False, **pool: object) -> Bench:
    targets = [a_target("primary"), a_target("backup", priority=1)]
    pools = [a_pool("chat", models=("chat", *(("*",) if star else ())), targets=targets, **pool)]
    return Bench(compile_config(a_config(pools, [a_provider("primary"), a_provider("backup")])))


def form(*fields: tuple[str, str]) -> bytes:
    parts = [f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in fields]
    file = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nID3\r\n--b--\r\n'
    return "".join([*parts, file]).encode()


def test_sound_goes_out_with_its_first_byte() -> None:
    bench = a_bench()
    client = bench.ask({"model": "chat", "input": "hi", "voice": "alloy"}, path="/v1/audio/speech")
    bench.upstream.last.head(200, AUDIO)
    assert client.status is None, "nothing came yet: another target may still answer"
    bench.upstream.last.data(b"ID3\x00")
    assert (client.status, client.body, client.headers["content-length"]) == (200, b"ID3\x00", "8")
    bench.upstream.last.data(b"\xff\xff\xff\xff")
    bench.upstream.last.end()
    assert (client.end, client.headers["content-type"]) == ("finished", "audio/mpeg")
    assert bench.nothing_is_held()


def test_sound_without_a_byte_or_with_an_error_in_it_is_asked_for_elsewhere() -> None:
    for body, headers in ((b"", AUDIO[:1]), (b'{"error":{"code":"x"}}', (("content-type", "application/json"),))):
        bench = a_bench()
        client = bench.ask({"model": "chat", "input": "hi"}, path="/v1/audio/speech")
        attempt = bench.upstream.last
        attempt.head(200, headers)
        if body:
            attempt.data(body)
        attempt.end()
        assert bench.upstream.asked == ["primary", "backup"]
        bench.upstream.last.answer(b"ID3", headers=AUDIO[:1])
        assert (client.body, client.headers["x-modelpool-target"]) == (b"ID3", "backup")


def test_sound_that_is_cut_never_looks_complete() -> None:
    bench = a_bench()
    client = bench.ask({"model": "chat", "input": "hi"}, path="/v1/audio/speech")
    bench.upstream.last.head(200, AUDIO)
    bench.upstream.last.data(b"ID3")
    bench.upstream.last.error("cut")
    assert (client.body, client.end) == (b"ID3", "failed")
    assert bench.nothing_is_held()


def test_sound_that_stops_coming_is_given_up() -> None:
    bench = a_bench()
    client = bench.ask({"model": "chat", "input": "hi"}, path="/v1/audio/speech")
    bench.upstream.last.head(200, AUDIO)
    bench.clock.advance(121)
    assert bench.upstream.asked == ["primary", "backup"], "nothing went out yet"
    bench.upstream.last.head(200, AUDIO)
    bench.upstream.last.data(b"ID3")
    bench.clock.advance(119)
    bench.upstream.last.data(b"I")
    bench.clock.advance(121)
    assert client.end == "failed"


def test_a_transcript_as_text_is_whole_before_it_goes_out() -> None:
    bench = a_bench()
    client = bench.ask(form(("model", "chat")), path="/v1/audio/transcriptions", headers=FORM)
    bench.upstream.last.head(200, TEXT)
    bench.upstream.last.data(b"hel")
    bench.upstream.last.error("cut")
    assert client.status is None
    bench.upstream.last.answer(b"hello", headers=TEXT)
    assert (client.body, client.headers["x-modelpool-attempts"]) == (b"hello", "2")


def test_a_form_goes_to_the_targets_model_with_the_pools_parameters_and_its_own_content_type() -> None:
    set_language = Parameter(name="language", action="Set", value='"en"')
    count = Parameter(name="n", action="Default", value="2")
    bench = a_bench(parameters=(set_language, count))
    client = bench.ask(form(("model", "chat"), ("language", "de")), path="/v1/audio/transcriptions", headers=FORM)
    sent = bench.upstream.last.request
    assert sent is not None
    assert dict(sent.headers)["content-type"] == FORM["content-type"]
    assert sent.url.endswith("/v1/audio/transcriptions")
    wanted = form(("n", "2"), ("model", "primary-model"), ("language", "en"))
    assert sent.body == wanted
    bench.upstream.last.answer({"text": "hello", "usage": {"type": "tokens", "input_tokens": 10, "output_tokens": 1}})
    assert client.json["text"] == "hello"
    assert bench.records[-1].usage.input_tokens == 10


def test_no_model_leads_to_the_star_pool_and_without_one_is_a_400_that_names_the_header() -> None:
    bench = a_bench()
    client = bench.ask({"input": "hi"}, path="/v1/moderations")
    assert (client.status, client.error_code) == (400, "missing_model")
    assert "x-modelpool-model" in client.json["error"]["message"]
    bench = a_bench(star=True)
    client = bench.ask({"input": "hi"}, path="/v1/moderations")
    sent = bench.upstream.last.request
    assert sent is not None
    assert orjson.loads(sent.body) == {"model": "primary-model", "input": "hi"}
    bench = a_bench()
    bench.ask({"input": "hi"}, path="/v1/moderations", headers={"x-modelpool-model": "chat"})
    assert len(bench.upstream.attempts) == 1


def test_where_nobody_names_a_model_the_api_has_the_last_word() -> None:
    targets = [a_target("primary", model=None)]
    pools = [a_pool("chat", models=("*",), targets=targets)]
    bench = Bench(compile_config(a_config(pools, [a_provider("primary")])))
    bench.ask(b'{"input":"hi"}', path="/v1/moderations")
    sent = bench.upstream.last.request
    assert sent is not None
    assert sent.body == b'{"input":"hi"}'
    bench.ask(form(("prompt", "a cat")), path="/v1/images/edits", headers=FORM)
    sent = bench.upstream.last.request
    assert sent is not None
    assert sent.body == form(("prompt", "a cat"))


def test_a_stream_of_speech_is_one_and_its_error_falls_back() -> None:
    bench = a_bench()
    client = bench.ask({"model": "chat", "input": "hi", "stream_format": "sse"}, path="/v1/audio/speech")
    sse = (("content-type", "text/event-stream"),)
    bench.upstream.last.head(200, sse)
    bench.upstream.last.data(b'data: {"error":{"code":"overloaded"}}\n\n')
    assert bench.upstream.asked == ["primary", "backup"]
    bench.upstream.last.head(200, sse)
    bench.upstream.last.data(b'data: {"type":"speech.audio.delta","audio":"x"}\n\n')
    bench.upstream.last.data(b'data: {"type":"speech.audio.done","usage":{"output_tokens":2}}\n\n')
    bench.upstream.last.end()
    assert client.end == "finished"
    assert bench.records[-1].stream
    assert bench.records[-1].usage.output_tokens == 2
    assert bench.nothing_is_held()


def test_a_form_belongs_to_no_key_of_its_prompt() -> None:
    bench = a_bench(strategy="ConsistentHash", consistent_hash={"by": "Prompt", "header": None})
    bench.ask(form(("model", "chat")), path="/v1/audio/transcriptions", headers=FORM)
    assert len(bench.upstream.attempts) == 1


def test_a_provider_gets_only_the_operations_that_it_takes() -> None:
    providers = [a_provider("primary", operations=("Chat",)), a_provider("backup", operations=("Audio", "Other"))]
    targets = [a_target("primary"), a_target("backup", priority=1)]
    bench = Bench(compile_config(a_config([a_pool("chat", targets=targets)], providers)))
    bench.ask({"model": "chat", "input": "hi"}, path="/v1/audio/speech")
    assert bench.upstream.asked == ["backup"]
    client = bench.ask({"model": "chat", "prompt": "hi"}, path="/v1/images/generations")
    assert (client.status, client.error_code) == (400, "capability_missing")
    assert "does not take Images" in client.json["error"]["message"]


def test_what_a_model_is_declared_to_do_says_nothing_of_pictures() -> None:
    models = [{"name": "primary-model", "contextTokens": 1, "capabilities": []}]
    pools = [a_pool("chat", targets=[a_target("primary")])]
    bench = Bench(compile_config(a_config(pools, [a_provider("primary", models=models)])))
    bench.ask({"model": "chat", "prompt": "a cat " * 100}, path="/v1/images/generations")
    assert len(bench.upstream.attempts) == 1
