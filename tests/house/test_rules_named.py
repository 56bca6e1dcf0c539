"""Every rule of limits, attempts, streams and health is named by a test, so who changes one finds what holds it."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
RULES = [*range(1, 40), 53]


def named() -> set[int]:
    """The rules in the words of the tests: `B10`, and the ones between in `B35 to B37`."""
    found: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        found |= {int(number) for number in re.findall(r"\bB(\d+)\b", text)}
        for first, last in re.findall(r"\bB(\d+) to B(\d+)\b", text):
            found |= set(range(int(first), int(last) + 1))
    return found


@pytest.mark.parametrize("rule", RULES, ids=[f"B{rule}" for rule in RULES])
def test_a_rule_is_named_by_the_test_that_holds_it(rule: int) -> None:
    assert rule in named()
