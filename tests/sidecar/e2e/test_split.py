"""Weights hold, also while they are edited: 10,000 requests, 200 reloads under streams, nothing lost or mixed."""

import asyncio
import json
import random
from collections import Counter

import aiohttp
import orjson
import pytest

from builders import a_config, a_pool, a_snapshot, a_target
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from virtual import DONE, ROLE, Bench, a_chunk

SHARES = {"first": 70, "second": 20, "third": 10}


def test_70_20_10_over_10000_requests_within_two_points() -> None:
    targets = [a_target(name, weight=weight) for name, weight in SHARES.items()]
    bench = Bench(a_snapshot([a_pool(targets=targets)]), rng=random.Random(20261121).random)
    served: Counter[str] = Counter()
    for _ in range(10_000):
        client = bench.ask()
        bench.upstream.last.answer()
        bench.upstream.attempts.clear()
        served[client.headers["x-modelpool-target"]] += 1
        bench.clock.advance(0.01)
    for name, share in SHARES.items():
        assert served[name] / 100 == pytest.approx(share, abs=2)


def test_a_target_that_is_away_leaves_its_share_to_the_others_in_proportion() -> None:
    targets = [a_target(name, weight=weight) for name, weight in SHARES.items()]
    bench = Bench(a_snapshot([a_pool(targets=targets)]), rng=random.Random(7).random)
    served: Counter[str] = Counter()
    for _ in range(3_000):
        client = bench.ask()
        if bench.upstream.last.provider == "first":
            bench.upstream.last.error("connect")
        bench.upstream.last.answer()
        bench.upstream.attempts.clear()
        served[client.headers["x-modelpool-target"]] += 1
    assert served["first"] == 0
    assert served["second"] / served.total() == pytest.approx(2 / 3, abs=0.03)


async def _stream(session: aiohttp.ClientSession, house: Running) -> tuple[str, str, bytes]:
    body = {"model": "chat", "messages": [], "stream": True}
    async with session.post(f"{house.base_url}/chat/completions", json=body) as answer:
        assert answer.status == 200
        return answer.headers["x-modelpool-config"], answer.headers["x-modelpool-target"], await answer.read()


@pytest.mark.slow
async def test_200_reloads_under_64_streams_lose_no_request_and_mix_no_config() -> None:
    """Each config sends its own model name; an answer must come from the target that its config chose."""
    async with running("primary", "backup") as house:
        for name, fake in house.fakes.items():
            text = a_chunk(f"from {name}")
            fake.answer_with(RawAnswer(body=(ROLE, text, 0.01, text, 0.01, a_chunk(finish="stop"), DONE)))
        models: dict[str, set[str]] = {}
        going = True
        answers: list[tuple[str, str, bytes]] = []

        async def client() -> None:
            async with aiohttp.ClientSession() as session:
                while going:
                    answers.append(await _stream(session, house))

        clients = [asyncio.create_task(client()) for _ in range(64)]
        for number in range(200):
            only = "primary" if number % 2 else "backup"
            pool = a_pool(targets=[a_target(only, model=f"model-{number}")])
            providers = [house.provider(only)]
            await house.apply([pool], providers)
            digest = house.sidecar._proxy.snapshot.pools["chat"].digest  # type: ignore[union-attr]
            models[digest[7:19]] = {f"model-{number}"}
            await asyncio.sleep(0.005)  # let streams begin under this config
        going = False
        await asyncio.gather(*clients)
        await house.quiet()
        assert len(answers) > 500
        for config, target, body in answers:
            assert body.endswith(DONE)
            assert body.count(f"from {target}".encode()) == 2
            assert config in models or config == answers[0][0]
        for record in house.records:
            assert record.sent_model in models.get(record.config, {record.sent_model})
            assert (record.status, len(record.attempts)) == (200, 1)


async def test_a_weight_that_is_edited_moves_the_split_and_keeps_what_is_known() -> None:
    def pools(first: int, second: int) -> list[object]:
        return [a_pool(targets=[a_target("primary", weight=first), a_target("backup", weight=second)])]

    async with running(pools=pools(1, 0)) as house, aiohttp.ClientSession() as session:  # type: ignore[arg-type]
        body = {"model": "chat", "messages": []}

        async def served() -> str:
            async with session.post(f"{house.base_url}/chat/completions", json=body) as answer:
                await answer.read()
                return answer.headers["x-modelpool-target"]

        assert {await served() for _ in range(10)} == {"primary"}
        providers = [house.provider("primary"), house.provider("backup")]
        await house.sidecar.apply(a_config(pools(0, 1), providers), {})  # type: ignore[arg-type]
        assert {await served() for _ in range(10)} == {"backup"}
        connections = house.fakes["primary"].connections_accepted
        await house.sidecar.apply(a_config(pools(1, 0), providers), {})  # type: ignore[arg-type]
        assert {await served() for _ in range(10)} == {"primary"}
        assert house.fakes["primary"].connections_accepted == connections, "unchanged providers keep theirs (B48)"


async def test_200_odd_bodies_and_answers_cross_the_sockets_changed_in_the_model_only() -> None:
    rng = random.Random(42)

    def odd(depth: int = 0) -> object:
        choices = [
            lambda: rng.choice(["", "\u00e9", "\U0001f600", "\u2028", 'q"\\', "model", "x" * rng.randrange(200)]),
            lambda: rng.choice([0, -1, 10**30, 1.5e300, 0.1, True, None]),
            lambda: [odd(depth + 1) for _ in range(rng.randrange(4))],
            lambda: {f"k{index}": odd(depth + 1) for index in range(rng.randrange(4))},
        ]
        return rng.choice(choices if depth < 3 else choices[:2])()

    async with running("primary") as house, aiohttp.ClientSession() as session:
        for number in range(200):
            fields = {f"odd{index}": odd() for index in range(5)}
            spaces = rng.choice([(",", ":"), (" , ", " : "), (",\n\t", ":")])
            text = json.dumps(
                {**fields, "model": "chat", "messages": []}, ensure_ascii=rng.random() < 0.5, separators=spaces
            )
            sent = text.encode()
            reply = orjson.dumps({"choices": [{"finish_reason": "stop"}], "id": str(number), "odd": repr(fields)})
            answer_headers = (("content-type", "application/json"),)
            house.fakes["primary"].answer_with(RawAnswer(headers=answer_headers, body=(reply,), framing="length"))
            async with session.post(
                f"{house.base_url}/chat/completions", data=sent, headers={"content-type": "application/json"}
            ) as answer:
                assert answer.status == 200, await answer.text()
                assert await answer.read() == reply
            seen = house.fakes["primary"].attempts[-1].body
            head, _, tail = sent.rpartition(b'"chat"')
            assert seen == head + b'"primary-model"' + tail
