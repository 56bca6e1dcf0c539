"""Weights hold, also while they are edited: 10,000 requests, 200 reloads under streams, nothing lost or mixed."""

import asyncio
import random
from collections import Counter

import aiohttp
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
        first = house.sidecar._proxy.snapshot.pools["chat"].short_digest
        models: dict[str, set[str]] = {first: {"primary-model", "backup-model"}}
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
            digest = house.sidecar._proxy.snapshot.pools["chat"].digest
            models[digest[7:19]] = {f"model-{number}"}
            await asyncio.sleep(0.005)  # let streams begin under this config
        going = False
        await asyncio.gather(*clients)
        await house.quiet()
        assert len(answers) > 500
        for config, target, body in answers:
            assert body.endswith(DONE)
            assert body.count(f"from {target}".encode()) == 2
            assert config in models
        for record in house.records:
            assert record.sent_model in models[record.config]
            assert (record.status, len(record.attempts)) == (200, 1)


async def test_a_weight_that_is_edited_moves_the_split_and_keeps_what_is_known() -> None:
    def pools(first: int, second: int) -> list[object]:
        return [a_pool(targets=[a_target("primary", weight=first), a_target("backup", weight=second)])]

    async with running(pools=pools(1, 0)) as house, aiohttp.ClientSession() as session:
        body = {"model": "chat", "messages": []}

        async def served() -> str:
            async with session.post(f"{house.base_url}/chat/completions", json=body) as answer:
                await answer.read()
                return answer.headers["x-modelpool-target"]

        assert {await served() for _ in range(10)} == {"primary"}
        providers = [house.provider("primary"), house.provider("backup")]
        await house.sidecar.apply(a_config(pools(0, 1), providers), {})
        assert {await served() for _ in range(10)} == {"backup"}
        connections = house.fakes["primary"].connections_accepted
        await house.sidecar.apply(a_config(pools(1, 0), providers), {})
        assert {await served() for _ in range(10)} == {"primary"}
        assert house.fakes["primary"].connections_accepted == connections, "unchanged providers keep theirs (B48)"
