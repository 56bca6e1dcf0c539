"""Every example of docs/limits.md runs: compiled as on disk, in front of Fake providers on real sockets (B8 to B12)."""

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import yaml

import limits_picture
from manifest_cases import provider
from modelpool_config import models as contract
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from modelpool_sidecar.core import buckets, estimate
from modelpool_sidecar.core.refusal import CODES
from modelpool_sidecar.fake.raw import RawAnswer
from running import Running, running
from stillness import again

PAGE = Path(__file__).parents[3] / "docs" / "limits.md"
TEXT = PAGE.read_text(encoding="utf-8")
PLACES = ("east", "west", "cloud", "self-hosted")


SLOW = RawAnswer(headers=(("content-type", "application/json"),), body=(b'{"choices":[{}]}',), before=0.3)


def examples() -> contract.Config:
    """What the page's manifests compile to; providers that it does not write are played."""
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    written = {document["metadata"]["name"] for document in documents if document["kind"] == "Provider"}
    others = [provider(name, dialect="Fake") for name in PLACES if name not in written]
    result = desired(observe([*others, *documents]))
    assert result.problems == ()
    return result.namespaces["default"].config


async def asked(
    held: Running, model: str, count: int, headers: dict[str, str] | None = None
) -> list[tuple[str, dict[str, str]]]:
    """Requests one after the other: where each went, or the code of its refusal; and the headers of its answer."""
    seen: list[tuple[str, dict[str, str]]] = []
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            async with session.post(f"{held.base_url}/chat/completions", json=body, headers=headers) as answer:
                said = await answer.json()
                where = answer.headers.get("x-modelpool-target") or said["error"]["code"]
                seen.append((where, {name.lower(): value for name, value in answer.headers.items()}))
    return seen


def names(seen: list[tuple[str, dict[str, str]]]) -> list[str]:
    return [where for where, _ in seen]


@again
async def test_every_example_of_the_page_does_what_the_page_says() -> None:
    config = examples()
    assert [pool.name for pool in config.pools] == [
        "busy",
        "finding",
        "minute",
        "patient",
        "spill",
        "tenants",
        "tokens",
        "watched",
    ]
    limits = {provider.name: {"limits": provider.limits.model_dump()} for provider in config.providers}
    async with running(*PLACES, pools=list(config.pools), changes=limits) as held:
        quick = await asked(held, "minute", 4)
        assert names(quick)[:3] == ["east"] * 3
        assert quick[0][1]["x-ratelimit-limit-requests"] == "600"
        assert quick[0][1]["x-ratelimit-remaining-requests"] == "2"
        assert names(await asked(held, "tenants", 3, {"x-tenant": "a"})) == ["east", "east", "rate_limit_exceeded"]
        assert names(await asked(held, "tenants", 1, {"x-tenant": "b"})) == ["east"]
        assert names(await asked(held, "tenants", 3)) == ["east", "east", "rate_limit_exceeded"]
        counted = await asked(held, "tokens", 2)
        assert names(counted) == ["east", "east"], "the first one reserved all of it, and used little"
        assert counted[0][1]["x-ratelimit-remaining-tokens"] == "0"
        spilled = await asked(held, "spill", 4)
        assert names(spilled) == ["west", "west", "cloud", "all_limited"]
        assert spilled[0][1]["x-ratelimit-remaining-requests"] == "1"
        assert spilled[3][1]["retry-after"] == "60", "the real time stands in the message"
        for fake in held.fakes.values():
            fake.answer_with(SLOW)
        together = await asyncio.gather(*(asked(held, "patient", 1) for _ in range(10)))
        assert sorted(where for [(where, _)] in together) == ["concurrency_exceeded"] * 5 + ["east"] * 5
        together = await asyncio.gather(*(asked(held, "busy", 1) for _ in range(4)))
        assert sorted(where for [(where, _)] in together) == ["all_limited", "cloud", "self-hosted", "self-hosted"]
        assert names(await asked(held, "finding", 2)) == ["east"] * 2
        for fake in held.fakes.values():
            fake.break_as("503")
        assert names(await asked(held, "finding", 1)) == ["east"]
        async with aiohttp.ClientSession() as session, session.get(f"{held.local}/-/state") as answer:
            told = (await answer.json())["pools"]
        [cap] = next(pool for pool in told if pool["name"] == "finding")["targets"][0]["limits"]
        assert (cap["max"], cap["adaptive"]) == (200, 50), "asked twice: a half each time"
        for fake in held.fakes.values():
            fake.mend()
        watched = await asked(held, "watched", 3)
        assert names(watched) == ["east"] * 3
        assert not any("x-ratelimit-limit-requests" in headers for _, headers in watched)


def test_the_page_tells_the_bounds_that_the_code_has() -> None:
    assert f"{buckets.EACH:,} values that are not whole" in TEXT
    assert f"together {buckets.ALL:,}" in TEXT
    assert f"newest {estimate.KEPT} answers stayed below ({estimate.UNKNOWN_OUTPUT} before" in TEXT
    assert f"between {estimate.LEAST:g} and {estimate.MOST:g}; 800 for a picture, 600 for" in TEXT
    assert "`tokens_above_limit`" in TEXT
    assert CODES["tokens_above_limit"][0] == 400


def test_the_picture_is_what_the_simulation_draws() -> None:
    assert limits_picture.PAGE.read_text(encoding="utf-8") == limits_picture.picture()


def test_no_stretch_of_the_picture_lets_more_pass_than_the_burst_and_the_rate() -> None:
    passed = limits_picture.counts()["passed"]
    burst, rate = limits_picture.BURST, limits_picture.MAX / limits_picture.PER
    stretches = [passed[start:end] for start in range(len(passed)) for end in range(start + 1, len(passed) + 1)]
    assert all(sum(stretch) <= burst + len(stretch) * rate for stretch in stretches)
    assert any(sum(stretch) > len(stretch) * rate for stretch in stretches)
