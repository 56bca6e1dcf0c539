"""Every example of docs/routing.md runs: compiled as on disk, in front of Fake providers on real sockets."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

import routing_picture
from manifest_cases import provider
from modelpool_config import models as contract
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from modelpool_sidecar.core.refusal import CODES
from running import Running, running

PAGE = Path(__file__).parents[3] / "docs" / "routing.md"
TEXT = PAGE.read_text(encoding="utf-8")
PLACES = ("east", "west", "cloud")


def examples() -> dict[str, contract.Pool]:
    """The pools of the page, by name, as the compiler renders them."""
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    told = {document["metadata"]["name"] for document in documents if document["kind"] == "Provider"}
    result = desired(observe([*(provider(name, dialect="Fake") for name in PLACES if name not in told), *documents]))
    assert result.problems == ()
    return {pool.name: pool for pool in result.namespaces["default"].config.pools}


async def asked(held: Running, model: str, count: int = 1, headers: dict[str, str] | None = None) -> Counter[Any]:
    """Requests one after the other: where each went, or the code of its refusal."""
    seen: Counter[Any] = Counter()
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            async with session.post(f"{held.base_url}/chat/completions", json=body, headers=headers) as answer:
                said = await answer.json()
                seen[answer.headers.get("x-modelpool-target") or said["error"]["code"]] += 1
    return seen


async def test_every_example_of_the_page_does_what_the_page_says() -> None:
    pools = examples()
    assert list(pools) == ["blend", "frugal", "near", "quick", "sessions", "tiers", "turns"]
    async with running(*PLACES, pools=list(pools.values())) as held:
        assert await asked(held, "turns", 8) == {"large": 6, "small": 2}
        assert await asked(held, "blend", 12) == {"near/east": 6, "near/west": 3, "cloud": 3}
        assert await asked(held, "blend", 2, {"x-modelpool-target": "near/west"}) == {"near/west": 2}
        assert await asked(held, "near", 3) == {"east": 2, "west": 1}
        assert set(await asked(held, "quick", 8)) <= {"east", "west"}
        for session in ("a", "b", "c"):
            assert len(await asked(held, "sessions", 5, {"X-Session": session})) == 1
        assert set(await asked(held, "sessions", 40)) == {"gpu-a", "gpu-b"}
        assert await asked(held, "tiers", 2, {"X-Tier": "premium"}) == {"premium": 2}
        assert await asked(held, "tiers", 2, {"X-Tier": "Premium"}) == {"rest": 2}
        held.fakes["east"].break_as("500")
        assert await asked(held, "tiers", 1, {"x-tier": "premium"}) == {"rest": 1}


async def test_a_request_that_no_target_takes_is_refused_on_the_wire() -> None:
    premium = examples()["tiers"].targets[0]
    pool = examples()["tiers"].model_copy(update={"targets": (premium,)})
    async with running(*PLACES, pools=[pool]) as held:
        assert await asked(held, "tiers") == {"no_matching_target": 1}
        assert await asked(held, "tiers", 1, {"x-tier": "premium", "x-modelpool-target": "premium"}) == {"premium": 1}
    assert CODES["no_matching_target"][0] == 400
    assert "`no_matching_target`" in TEXT


@pytest.mark.parametrize(
    "strategy",
    ["Weighted", "RoundRobin", "LeastRequests", "LowestLatency", "LowestCost", "LowestUsage", "ConsistentHash"],
)
def test_the_page_has_every_strategy(strategy: str) -> None:
    assert f"| `{strategy}`" in TEXT


def test_the_picture_is_what_the_script_draws() -> None:
    assert routing_picture.PAGE.read_text(encoding="utf-8") == routing_picture.picture()
