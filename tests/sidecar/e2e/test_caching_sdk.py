"""B53 over real sockets, with the openai SDK: given again in either form, shared while it is made, kept apart."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import openai
import orjson
import pytest
import yaml
from openai import AsyncOpenAI, AsyncStream
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk

from builders import a_pool, a_target
from manifest_cases import provider
from modelpool_config import callerkeys
from modelpool_config import models as contract
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from stillness import again
from virtual import DONE, ROLE, a_chunk, a_completion

PAGE = Path(__file__).parents[3] / "docs" / "caching.md"
HELLO: Any = [{"role": "user", "content": "hello"}]
SETTINGS = {"ttl": 300_000, "max_entries": 10, "max_bytes": 1 << 20}
SAID = "I am primary as primary-model."


def pools(**changes: Any) -> list[contract.Pool]:
    return [a_pool(targets=[a_target("primary")], cache=SETTINGS, **changes)]


def client(house: Running, key: str = "unused") -> AsyncOpenAI:
    return AsyncOpenAI(base_url=house.base_url, api_key=key, max_retries=0)


def asked(house: Running) -> int:
    return len(house.fakes["primary"].attempts)


def results(house: Running) -> list[str | None]:
    return [record.cache for record in house.records]


async def text(stream: AsyncStream[ChatCompletionChunk]) -> str:
    chunks = [chunk async for chunk in stream]
    assert len({chunk.id for chunk in chunks}) == 1
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    return "".join(choice.delta.content or "" for choice in choices)


async def test_an_answer_is_given_again_whole_and_as_a_stream() -> None:
    async with running("primary", pools=pools()) as house, client(house) as sdk:
        first = await sdk.chat.completions.create(model="chat", messages=HELLO, temperature=0)
        again = await sdk.chat.completions.with_raw_response.create(model="chat", messages=HELLO, temperature=0)
        assert again.parse() == first
        assert (again.headers["x-modelpool-cache"], again.headers["x-modelpool-cost"]) == ("hit", "0")
        question: Any = {"model": "chat", "messages": HELLO, "temperature": 0}
        assert await text(await sdk.chat.completions.create(**question, stream=True)) == SAID
        async with sdk.chat.completions.stream(
            model="chat", messages=HELLO, temperature=0, stream_options={"include_usage": True}
        ) as stream:
            final = await stream.get_final_completion()
        assert (final.choices[0].message.content, final.id) == (SAID, first.id)
        assert final.usage == first.usage
        assert asked(house) == 1
        assert results(house) == ["miss", "hit", "hit", "hit"]


async def test_a_stream_is_given_again_as_a_stream_and_whole() -> None:
    async with running("primary", pools=pools()) as house, client(house) as sdk:
        question: Any = {"model": "chat", "messages": HELLO, "temperature": 0}
        for _ in range(2):
            stream = await sdk.chat.completions.create(**question, stream=True, stream_options={"include_usage": True})
            assert await text(stream) == SAID
        assert await text(await sdk.chat.completions.create(**question, stream=True)) == SAID
        whole = await sdk.chat.completions.create(**question)
        assert whole.choices[0].message.content == SAID
        assert whole.usage is not None
        assert whole.usage.completion_tokens > 0
        assert asked(house) == 1


async def test_a_stream_that_told_no_usage_is_given_again_with_it() -> None:
    """The sidecar asks for it where the client does not (B32), and knows it for the next one."""
    async with running("primary", pools=pools()) as house, client(house) as sdk:
        question: Any = {"model": "chat", "messages": HELLO, "temperature": 0}
        plain = await sdk.chat.completions.create(**question, stream=True)
        assert not [chunk async for chunk in plain if chunk.usage or not chunk.choices]
        whole = await sdk.chat.completions.create(**question)
        told = await sdk.chat.completions.create(**question, stream=True, stream_options={"include_usage": True})
        *_, last = [chunk async for chunk in told]
        assert whole.usage is not None
        assert last.usage == whole.usage
        assert results(house) == ["miss", "hit", "hit"]


async def test_text_completions_embeddings_and_responses_are_given_again() -> None:
    async with running("primary", pools=pools()) as house, client(house) as sdk:
        for _ in range(2):
            completion: Completion = await sdk.completions.create(model="chat", prompt="a", temperature=0)
            assert completion.choices[0].text
            assert (await sdk.embeddings.create(model="chat", input="a")).data[0].embedding
            answer = await sdk.responses.create(model="chat", input="a", temperature=0, store=False)
            assert answer.output_text
            events = await sdk.responses.create(model="chat", input="a", temperature=0, store=False, stream=True)
            told = [event async for event in events]
            assert told[-1].type == "response.completed"
        assert results(house) == ["miss"] * 4 + ["hit"] * 4
        stream = await sdk.completions.create(model="chat", prompt="a", temperature=0, stream=True)
        assert "".join([part.choices[0].text async for part in stream]) == completion.choices[0].text
        assert results(house)[-1] == "hit"
        assert asked(house) == 4


async def test_fifty_equal_questions_at_once_are_one_call() -> None:
    async with running("primary", pools=pools()) as house, client(house) as sdk:
        gate = asyncio.Event()
        house.fakes["primary"].answer_with(
            RawAnswer(
                headers=(("content-type", "application/json"),),
                body=(orjson.dumps(a_completion("one for all", created=1)),),
                before=gate,
            )
        )
        waiting = [
            asyncio.create_task(sdk.chat.completions.create(model="chat", messages=HELLO, temperature=0))
            for _ in range(50)
        ]
        await house.fakes["primary"].until(lambda fake: len(fake.attempts) == 1)
        async with asyncio.timeout(10):
            while _listeners(house) < 50:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(*waiting)
        assert {answer.choices[0].message.content for answer in answers} == {"one for all"}
        assert asked(house) == 1
        await house.quiet()
        assert sorted(result or "" for result in results(house)) == ["miss", *["shared"] * 49]


def _listeners(house: Running) -> int:
    return sum(call.listeners for call in house.sidecar._proxy._caching._calls.values())


@again
async def test_who_led_may_leave_and_with_the_last_one_the_call_ends_within_a_tenth_of_a_second() -> None:
    """B31."""
    async with running("primary", pools=pools()) as house, client(house) as sdk:
        gate = asyncio.Event()
        rest = (a_chunk("lo"), a_chunk(finish="stop"), DONE)
        house.fakes["primary"].answer_with(RawAnswer(body=(ROLE, a_chunk("hel"), gate, *rest)))

        async def stream() -> AsyncStream[ChatCompletionChunk]:
            return await sdk.chat.completions.create(model="chat", messages=HELLO, temperature=0, stream=True)

        leader, follower = await stream(), await stream()
        await leader.close()
        gate.set()
        assert await text(follower) == "hello"
        await house.quiet()
        assert asked(house) == 1
        house.fakes["primary"].answer_with(RawAnswer(body=(ROLE, a_chunk("hel")), ends="stall"))
        two = [
            await sdk.chat.completions.create(model="chat", messages=HELLO, temperature=0, seed=1, stream=True)
            for _ in range(2)
        ]
        await two[0].close()
        assert house.fakes["primary"].attempts[-1].ended is None
        await two[1].close()
        left = asyncio.get_running_loop().time()
        await house.fakes["primary"].until(lambda fake: fake.attempts[-1].ended is not None)
        assert asyncio.get_running_loop().time() - left < 0.1
        await house.quiet()


async def test_errors_and_streams_that_are_cut_are_not_kept_and_no_cache_asks_anew() -> None:
    async with running("primary", pools=pools(fallback={"max_attempts": 1})) as house, client(house) as sdk:
        question: Any = {"model": "chat", "messages": HELLO, "temperature": 0}
        house.fakes["primary"].break_as("400")
        with pytest.raises(openai.BadRequestError):
            await sdk.chat.completions.create(**question)
        house.fakes["primary"].mend()
        house.fakes["primary"].answer_with(RawAnswer(body=(ROLE, a_chunk("hel")), ends="cut"))
        with pytest.raises((openai.APIError, aiohttp.ClientError)):
            await text(await sdk.chat.completions.create(**question, stream=True))
        house.fakes["primary"].answer_with(None)
        assert (await sdk.chat.completions.create(**question)).choices[0].message.content == SAID
        assert asked(house) == 3
        fresh = {"cache-control": "no-cache"}
        await sdk.chat.completions.create(**question, extra_headers=fresh)
        await sdk.chat.completions.create(**question)
        assert asked(house) == 4
        assert results(house) == ["miss", "miss", "miss", "bypass", "hit"]


async def test_two_callers_share_nothing() -> None:
    names = ("alice", "bob")
    keys = callerkeys.encode({name: callerkeys.digest(f"key-of-{name}-0123456789") for name in names})
    guarded = pools(callers={"keys": "team", "source": "Secret team"}, requires=("callers",))
    async with running("primary", pools=guarded, credentials={"team": keys}) as house:
        for name in (*names, *names):
            async with client(house, f"key-of-{name}-0123456789") as sdk:
                await sdk.chat.completions.create(model="chat", messages=HELLO, temperature=0)
        assert asked(house) == 2
        assert [(record.caller, record.cache) for record in house.records] == [
            ("alice", "miss"),
            ("bob", "miss"),
            ("alice", "hit"),
            ("bob", "hit"),
        ]


async def test_metrics_and_state_tell_of_it() -> None:
    async with running("primary", pools=pools()) as house, client(house) as sdk:
        for _ in range(3):
            await sdk.chat.completions.create(model="chat", messages=HELLO, temperature=0)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{house.admin}/metrics") as answer:
                told = await answer.text()
            async with session.get(f"{house.local}/-/state") as answer:
                [pool] = (await answer.json())["pools"]
        assert 'modelpool_cache_requests_total{pool="chat",result="hit"} 2.0' in told
        assert 'modelpool_cache_requests_total{pool="chat",result="miss"} 1.0' in told
        assert 'modelpool_cache_entries{pool="chat"} 1.0' in told
        assert f'modelpool_cache_bytes{{pool="chat"}} {pool["cache"]["bytes"]}.0' in told
        assert (pool["cache"]["entries"], pool["cache"]["ratio"]) == (1, 0.667)
        assert "hello" not in str(pool)


async def test_the_page_is_true() -> None:
    """Its manifest, with a Provider that answers; and the words of its table."""
    page = PAGE.read_text(encoding="utf-8")
    documents = list(yaml.safe_load_all(page.split("```yaml\n")[1].split("```")[0]))
    result = desired(observe([provider("openai", dialect="Fake"), *documents]))
    assert result.problems == ()
    config = result.namespaces["default"].config
    assert config.pools[0].cache == contract.Cache(ttl=600_000, max_entries=1000, max_bytes=67_108_864)
    async with running("openai", pools=config.pools) as house, client(house) as sdk:
        said = []
        for temperature in (0, 0, 1):
            answer = await sdk.chat.completions.with_raw_response.create(
                model="chat", messages=HELLO, temperature=temperature
            )
            said.append(answer.headers["x-modelpool-cache"])
    assert said == ["miss", "hit", "bypass"]
    assert all(f"| `{word}` |" in page for word in ("hit", "shared", "miss", "bypass"))
