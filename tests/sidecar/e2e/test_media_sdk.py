"""Moderations, pictures, speech and transcripts by the official SDK, over real sockets."""

import base64
from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI, InternalServerError

from running import Running, running

SOUND = ("a.wav", b"RIFF....WAVE", "audio/wav")


@pytest.fixture
async def house() -> AsyncIterator[Running]:
    async with running() as held:
        yield held


@pytest.fixture
async def client(house: Running) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=house.base_url, api_key="unused", max_retries=0) as made:
        yield made


async def test_moderations(client: AsyncOpenAI) -> None:
    verdict = await client.moderations.create(model="chat", input=["a", "b"])
    assert [result.flagged for result in verdict.results] == [False, False]
    named = await client.moderations.create(input="a", extra_headers={"x-modelpool-model": "chat"})
    assert named.model == "primary-model"


async def test_pictures_whole_and_as_events(client: AsyncOpenAI, house: Running) -> None:
    made = await client.images.generate(model="chat", prompt="a white point", n=2)
    assert made.data is not None
    assert [base64.b64decode(picture.b64_json or "")[:4] for picture in made.data] == [b"\x89PNG"] * 2
    stream = await client.images.generate(model="chat", prompt="a white point", stream=True)
    assert [event.type async for event in stream] == ["image_generation.partial_image", "image_generation.completed"]
    edited = await client.images.edit(model="chat", image=[("a.png", b"\x89PNG"), ("b.png", b"\x89PNG")], prompt="x")
    assert edited.data
    edits = await client.images.edit(model="chat", image=("a.png", b"\x89PNG"), prompt="x", stream=True)
    assert [event.type async for event in edits][-1] == "image_edit.completed"
    with pytest.deprecated_call():
        varied = await client.images.create_variation(model="chat", image=("a.png", b"\x89PNG"))
    assert varied.data
    await house.quiet()
    assert {record.route for record in house.records} == {
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/images/variations",
    }
    assert all(record.usage.output_tokens == 16 for record in house.records)


async def test_speech_whole_and_as_events(client: AsyncOpenAI) -> None:
    spoken = await client.audio.speech.create(model="chat", voice="alloy", input="hi", response_format="wav")
    assert spoken.content.startswith(b"RIFF")
    async with client.audio.speech.with_streaming_response.create(model="chat", voice="alloy", input="hi") as streamed:
        assert b"".join([part async for part in streamed.iter_bytes(16)]) == spoken.content
        assert streamed.headers["content-type"] == "audio/mpeg"


@pytest.mark.parametrize("form", ["json", "text", "srt", "vtt", "verbose_json"])
async def test_transcripts_in_every_form(client: AsyncOpenAI, form: str) -> None:
    told = await client.audio.transcriptions.create(model="chat", file=SOUND, response_format=form)  # type: ignore[call-overload]  # one of its literals
    assert "I am primary as primary-model." in (told if isinstance(told, str) else told.text)


async def test_transcripts_as_events_and_translations(client: AsyncOpenAI, house: Running) -> None:
    stream = await client.audio.transcriptions.create(model="chat", file=SOUND, stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == events[-1].text
    with pytest.deprecated_call():
        translated = await client.audio.translations.create(model="chat", file=SOUND)
    assert translated.text == "I am primary as primary-model."
    await house.quiet()
    assert [record.stream for record in house.records] == [True, False]


async def test_a_broken_provider_is_left_for_another_one(client: AsyncOpenAI, house: Running) -> None:
    for fault in ("500", "Reset", "Cut"):
        house.fakes["primary"].break_as(fault)
        spoken = await client.audio.speech.with_raw_response.create(model="chat", voice="alloy", input="hi")
        assert spoken.headers["x-modelpool-target"] == "backup"
        told = await client.audio.transcriptions.create(model="chat", file=SOUND, response_format="text")
        assert "backup" in told
        stream = await client.audio.transcriptions.create(model="chat", file=SOUND, stream=True)
        assert "backup" in [event async for event in stream][-1].text  # type: ignore[union-attr]  # the last one
    house.fakes["backup"].break_as("500")
    with pytest.raises(InternalServerError):
        await client.moderations.create(model="chat", input="a")


async def test_a_large_recording_passes_whole(client: AsyncOpenAI, house: Running) -> None:
    content = bytes(range(256)) * 40_000  # ten megabytes
    await client.audio.transcriptions.create(model="chat", file=("a.wav", content))
    assert content in house.fakes["primary"].attempts[-1].body
