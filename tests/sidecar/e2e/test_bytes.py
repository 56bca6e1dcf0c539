"""What crosses the sockets is what was sent: requests change in their model only, answers not at all (B40)."""

import json
import random
from typing import Any

import aiohttp
import pytest

from builders import a_pool, a_target
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from virtual import DONE

JSON = {"content-type": "application/json"}
TEXTS = ("", "\u00e9", "\U0001f600", "\u2028", 'q"\\', "model", "data: x\n\n", "[DONE]", "x" * 300)
NUMBERS = (0, -1, 10**30, 1.5e300, 0.1, True, None)


def odd(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value, the odder the better."""
    kind = rng.randrange(4 if depth < 3 else 2)
    if kind == 0:
        return rng.choice(TEXTS)
    if kind == 1:
        return rng.choice(NUMBERS)
    if kind == 2:
        return [odd(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {f"k{index}": odd(rng, depth + 1) for index in range(rng.randrange(4))}


def written(rng: random.Random, value: Any) -> bytes:
    """The same value in one of its many spellings."""
    separators = rng.choice([(",", ":"), (" , ", " : "), (",\n\t", ":")])
    return json.dumps(value, ensure_ascii=rng.random() < 0.5, separators=separators).encode()


def event(rng: random.Random, value: Any) -> bytes:
    """One event with any line end, with or without a space, over one line or several, with comments around it."""
    end = rng.choice([b"\n", b"\r\n", b"\r"])
    text = json.dumps(value, separators=rng.choice([(",", ":"), (",\n", ": ")])).encode()
    colon = rng.choice([b"data:", b"data: "])
    lines = [colon + line for line in text.split(b"\n")]
    before = rng.choice([[], [b": ping"], [b"id: 7", b"event: message"], [b"retry: 10"], [b"unknown: x"]])
    return end.join([*before, *lines]) + end + end


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """The same bytes in pieces that respect nothing."""
    marks = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randrange(1, 12))))
    return [data[start:end] for start, end in zip([0, *marks], [*marks, len(data)], strict=True)]


async def post(session: aiohttp.ClientSession, house: Running, body: bytes) -> bytes:
    async with session.post(f"{house.base_url}/chat/completions", data=body, headers=JSON) as answer:
        data = await answer.read()
        assert answer.status == 200, data
        return data


@pytest.mark.parametrize("stream", [False, True])
async def test_100_odd_bodies_and_answers_cross_the_sockets_changed_in_the_model_only(stream: bool) -> None:
    rng = random.Random(42)
    async with running("primary") as house, aiohttp.ClientSession() as session:
        primary = house.fakes["primary"]
        for number in range(100):
            fields = {f"odd{index}": odd(rng) for index in range(5)}
            sent = written(rng, {**fields, "stream": stream, "model": "chat", "messages": []})
            choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": None}
            done = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            if stream:
                reply = event(rng, {**fields, "choices": [choice]}) + event(rng, {**fields, **done}) + DONE
                primary.answer_with(RawAnswer(body=cut(rng, reply)))
            else:
                reply = written(rng, {**fields, **done, "id": number})
                primary.answer_with(RawAnswer(headers=tuple(JSON.items()), body=cut(rng, reply), framing="length"))
            assert await post(session, house, sent) == reply
            head, _, tail = sent.rpartition(b'"chat"')
            asks = b'"stream_options":{"include_usage":true},' if stream else b""  # B32
            assert primary.attempts[-1].body == b"{" + asks + head[1:] + b'"primary-model"' + tail


async def test_a_pools_parameters_cross_the_sockets_and_nothing_else_of_the_body_changes() -> None:
    ceiling = {"name": "max_tokens", "action": "Max", "value": "16"}
    remove = {"name": "user", "action": "Remove", "value": None}
    pools = [a_pool(targets=[a_target(parameters=(remove,))], parameters=(ceiling,))]
    async with running("primary", pools=pools) as house, aiohttp.ClientSession() as session:
        messages = b'"messages" : [ {"role":"user","content":"\\u00e9","user":1.0e2} ]'
        await post(session, house, b'{"max_tokens": 99, "user":"u", "model":"chat", ' + messages + b"}")
        await post(session, house, b'{"model":"chat", ' + messages + b', "max_completion_tokens": 8}')
        assert [attempt.body for attempt in house.fakes["primary"].attempts] == [
            b'{"max_tokens": 16, "model":"primary-model", ' + messages + b"}",
            b'{"model":"primary-model", ' + messages + b', "max_completion_tokens": 8}',
        ]
