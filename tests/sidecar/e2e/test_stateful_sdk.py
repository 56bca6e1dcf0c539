"""Files, uploads, batches, kept responses and conversations by the official SDK, over real sockets (B15a, B20a)."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError

from builders import a_pool, a_target
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running

TWO = [a_target("primary"), a_target("backup")]
POOL = a_pool(targets=TWO, stateful={"target": "backup"}, limits={"requests": (), "concurrency": {"max": 50}})
LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n'


@pytest.fixture
async def house() -> AsyncIterator[Running]:
    async with running(pools=[POOL]) as held:
        yield held


@pytest.fixture
async def client(house: Running) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=house.base_url, api_key="unused", max_retries=0) as made:
        yield made


async def test_a_file_comes_back_as_it_went_and_lives_at_one_target(client: AsyncOpenAI, house: Running) -> None:
    content = bytes(range(256)) * 4000
    file = await client.files.create(file=("a.bin", content), purpose="user_data")
    assert (file.bytes, file.filename) == (len(content), "a.bin")
    assert (await client.files.retrieve(file.id)).id == file.id
    assert [each.id async for each in client.files.list()] == [file.id]
    assert (await client.files.content(file.id)).content == content
    assert (await client.files.delete(file.id)).deleted
    with pytest.raises(NotFoundError) as missing:
        await client.files.retrieve(file.id)
    assert "No such File object" in missing.value.message
    assert missing.value.response.headers["x-modelpool-target"] == "backup"
    await house.quiet()
    assert not house.fakes["primary"].attempts, "an id never reaches another provider"
    assert [record.route for record in house.records][1:3] == ["/v1/files/{id}", "/v1/files"]
    assert not house.sidecar.in_flight


async def test_an_upload_in_parts_becomes_a_file(client: AsyncOpenAI) -> None:
    upload = await client.uploads.create(bytes=6, filename="a.txt", mime_type="text/plain", purpose="user_data")
    parts = [await client.uploads.parts.create(upload.id, data=data) for data in (b"one", b"two")]
    done = await client.uploads.complete(upload.id, part_ids=[part.id for part in parts])
    assert done.file is not None
    assert (await client.files.content(done.file.id)).content == b"onetwo"
    other = await client.uploads.create(bytes=6, filename="a.txt", mime_type="text/plain", purpose="user_data")
    assert (await client.uploads.cancel(other.id)).status == "cancelled"


async def test_a_batch_from_its_file_to_its_output(client: AsyncOpenAI) -> None:
    file = await client.files.create(file=("a.jsonl", LINE), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"}
    )
    assert batch.status == "validating"
    done = await client.batches.retrieve(batch.id)
    assert (done.status, done.output_file_id is not None) == ("completed", True)
    assert b"I am backup as batch." in (await client.files.content(done.output_file_id or "")).content
    assert [each.id async for each in client.batches.list()] == [batch.id]
    assert (await client.batches.cancel(batch.id)).status == "cancelling"
    with pytest.raises(BadRequestError):
        await client.batches.create(input_file_id="file-x", endpoint="/v1/responses", completion_window="24h")


async def test_a_kept_response_is_found_again_and_one_that_is_not_kept_goes_anywhere(
    client: AsyncOpenAI, house: Running
) -> None:
    first = await client.responses.create(model="chat", input="hello")
    again = await client.responses.retrieve(first.id)
    assert again.output_text == first.output_text == "I am backup as backup-model."
    items = [item async for item in client.responses.input_items.list(first.id)]
    assert items[0].type == "message"
    second = await client.responses.create(model="chat", input="and?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    stream = await client.responses.retrieve(first.id, stream=True)
    assert [event.type async for event in stream][-1] == "response.completed"
    await client.responses.delete(first.id)
    with pytest.raises(NotFoundError):
        await client.responses.retrieve(first.id)
    for _ in range(12):
        await client.responses.create(model="chat", input="hello", store=False)
    await house.quiet()
    assert house.fakes["primary"].attempts, "what is not kept goes by weight"
    assert all(attempt.path == "/v1/responses" for attempt in house.fakes["primary"].attempts)
    retold = [record for record in house.records if record.route == "/v1/responses/{id}"]
    assert all(record.usage.output_tokens is None for record in retold), "tokens are counted once"


async def test_a_background_response_is_asked_for_later_and_can_be_cancelled(client: AsyncOpenAI) -> None:
    queued = await client.responses.create(model="chat", input="hello", background=True)
    assert queued.status == "queued"
    assert (await client.responses.retrieve(queued.id)).status == "completed"
    assert (await client.responses.cancel(queued.id)).status == "cancelled"


async def test_a_conversation_and_its_items(client: AsyncOpenAI, house: Running) -> None:
    conversation = await client.conversations.create(metadata={"topic": "a"})
    assert (await client.conversations.update(conversation.id, metadata={"topic": "b"})).metadata == {"topic": "b"}
    item: Any = {"type": "message", "role": "user", "content": "remember this"}
    added = await client.conversations.items.create(conversation.id, items=[item])
    identity = added.data[0].id or ""
    assert (await client.conversations.items.retrieve(identity, conversation_id=conversation.id)).type == "message"
    await client.responses.create(model="chat", input="hello", conversation=conversation.id)
    assert len([each async for each in client.conversations.items.list(conversation.id)]) == 3
    await client.conversations.items.delete(identity, conversation_id=conversation.id)
    assert (await client.conversations.retrieve(conversation.id)).id == conversation.id
    assert (await client.conversations.delete(conversation.id)).deleted
    await house.quiet()
    assert not house.fakes["primary"].attempts


async def test_a_batch_is_not_made_twice_where_its_answer_is_lost(client: AsyncOpenAI, house: Running) -> None:
    for fault in ("Reset", "500", "Cut"):
        house.fakes["backup"].break_as(fault)
        before = len(house.fakes["backup"].attempts)
        with pytest.raises(APIStatusError) as failed:
            await client.batches.create(input_file_id="f", endpoint="/v1/responses", completion_window="24h")
        assert failed.value.response.headers["x-should-retry"] == "false", "nor by the client's SDK"
        assert len(house.fakes["backup"].attempts) == before + 1
    assert not house.fakes["primary"].attempts


async def test_a_look_is_taken_again_at_the_same_target(client: AsyncOpenAI, house: Running) -> None:
    answers = iter([RawAnswer(status=500, framing="length", body=()), None])
    house.fakes["backup"].answer_with(lambda attempt: next(answers))
    assert [each async for each in client.files.list()] == []
    assert len(house.fakes["backup"].attempts) == 2


async def test_a_path_with_a_traversal_reaches_nobody(house: Running) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/v1/files/..%2f..%2fadmin", "/v1/files/%2e%2e/x", "/v1/files/a%00b", "/v1/responses//cancel"):
            async with session.get(aiohttp.client.URL(house.address + path, encoded=True)) as answer:
                assert answer.status == 404
    assert not any(fake.attempts for fake in house.fakes.values())


async def test_a_large_file_passes_in_pieces_and_a_slow_reader_slows_the_provider(house: Running) -> None:
    piece = b"x" * 65536
    sent = 0

    def pieces() -> Any:
        nonlocal sent
        for _ in range(1600):  # a hundred megabytes
            sent += 1
            yield piece

    house.fakes["backup"].answer_with(
        RawAnswer(headers=(("content-type", "application/octet-stream"),), body=pieces(), framing="chunked")
    )
    async with (
        aiohttp.ClientSession(read_bufsize=65536) as session,
        session.get(f"{house.address}/v1/files/file-a/content") as answer,
    ):
        assert await answer.content.readexactly(65536) == piece
        assert sent < 800, "what nobody reads is not fetched"
        size = 65536
        async for part in answer.content.iter_any():
            size += len(part)
    assert size == 1600 * 65536
    await house.quiet()
