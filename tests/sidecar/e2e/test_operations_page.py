"""docs/operations.md is true: its table is the table in the code, its examples run as they stand."""

import asyncio
import re
from pathlib import Path

import pytest
import yaml

from manifest_cases import provider
from modelpool_config import models as contract
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from modelpool_sidecar.core.catalogue import BY_WORD, OPERATIONS
from running import running

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_every_path_stands_in_the_table_with_the_word_for_it() -> None:
    words = {operation: word for word, operations in BY_WORD.items() for operation in operations}
    told: dict[str, str] = {}
    for line in TEXT.splitlines():
        if line.startswith("| `"):
            paths, word = line.split("|")[1:3]
            told |= dict.fromkeys(re.findall(r"`([A-Z]+ [^`]+)`", paths), word.strip(" `"))
    assert told == {f"{each.method} {each.route}": words.get(each, "") for each in OPERATIONS}


def the_pool() -> contract.Pool:
    """The pool of the page, as the compiler renders it, over two targets that a test plays."""
    manifest = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0])
    result = desired(observe([*(provider(name, dialect="Fake") for name in ("east", "west")), manifest]))
    assert result.problems == ()
    return result.namespaces["default"].config.pools[0]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
async def test_every_example_runs(block: str) -> None:
    printed: list[object] = []
    async with running("east", "west", pools=[the_pool()]) as house:
        here = block.replace("http://127.0.0.1:4891", house.address)
        assert here != block
        await asyncio.to_thread(exec, compile(here, str(PAGE), "exec"), {"print": lambda *said: printed.append(said)})
        assert printed
        assert not house.fakes["west"].attempts
