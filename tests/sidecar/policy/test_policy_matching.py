"""Which targets a request may be sent to by its headers, what is said where none is left; what a prompt's key is."""

from typing import Any

import orjson
import pytest

from builders import a_pool, a_snapshot, a_target, the_pool
from modelpool_sidecar.core import affinity, hashing, matching
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request, parse
from modelpool_sidecar.core.snapshot import Pool

Named = tuple[tuple[str, str], ...]


def asking(name: str, *headers: tuple[str, str], **more: Any) -> dict[str, Any]:
    return a_target(name, match_headers=[{"name": each, "value": value} for each, value in headers], **more)


def a_matching_pool(*targets: dict[str, Any]) -> Pool:
    return the_pool(a_snapshot([a_pool(targets=targets)]))


def left(pool: Pool, *headers: tuple[str, str]) -> list[list[str]]:
    tiers = matching.tiers(pool, headers)
    assert isinstance(tiers, tuple)
    return [[target.name for target in tier] for tier in tiers]


def test_a_target_that_asks_for_headers_takes_only_requests_that_carry_all_of_them() -> None:
    both = asking("both", ("X-Tier", "premium"), ("x-team", "red"))
    pool = a_matching_pool(both, a_target("all", priority=1))
    assert left(pool, ("x-tier", "premium"), ("x-team", "red")) == [["both"], ["all"]]
    for headers in ((), (("x-tier", "premium"),), (("x-tier", "Premium"), ("x-team", "red"))):
        assert left(pool, *headers) == [["all"]], "names without case, values exactly"


def test_a_header_that_stands_twice_counts_with_either_value() -> None:
    pool = a_matching_pool(asking("a", ("x-tier", "1")), asking("b", ("x-tier", "2")))
    assert left(pool, ("x-tier", "1"), ("x-tier", "2")) == [["a", "b"]]


def test_where_nobody_asks_for_a_header_nothing_is_looked_at() -> None:
    pool = a_matching_pool(a_target("one"), a_target("two", priority=1))
    assert matching.tiers(pool, ()) is pool.tiers


def test_a_request_for_which_no_target_is_left_is_refused_by_the_names_of_the_headers_and_no_value() -> None:
    pool = a_matching_pool(asking("red", ("x-team", "hunter2")), asking("blue", ("x-team", "b"), ("x-tier", "1")))
    refusal = matching.tiers(pool, (("x-team", "green"),))
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.status, refusal.type) == ("no_matching_target", 400, "invalid_request_error")
    assert refusal.message == (
        "pool chat: no target takes a request with these headers: red asks for x-team; "
        "blue asks for x-team and x-tier, each with a value of its own"
    )


def test_a_pinned_target_that_asks_for_a_header_does_not_take_a_request_without_it() -> None:
    pool = a_matching_pool(asking("red", ("x-team", "r")), a_target("all"))
    assert isinstance(matching.tiers(pool, (), ((pool.targets["red"],),)), Refusal)
    assert matching.tiers(pool, (), ((pool.targets["all"],),)) == ((pool.targets["all"],),)
    assert matching.tiers(pool, (("x-team", "r"),), ((pool.targets["red"],),)) == ((pool.targets["red"],),)


# -- what a request's key is

USER = {"role": "user", "content": "Why is the sky blue?"}
SYSTEM = {"role": "system", "content": "Be short."}
PARTS = {"role": "user", "content": [{"type": "image_url"}, 7, {"type": "text", "text": "Why?"}]}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": [SYSTEM, USER]}, "Be short.\nWhy is the sky blue?"),
        (
            {"messages": [SYSTEM, USER, {"role": "assistant", "content": "Air."}, USER]},
            "Be short.\nWhy is the sky blue?",
        ),
        ({"messages": [PARTS]}, "Why?"),
        ({"messages": [SYSTEM]}, "Be short."),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, ""),
        ({"instructions": "Be short.", "input": "Why?"}, "Be short.\nWhy?"),
        ({"input": [{"type": "reasoning"}, {"role": "user", "content": "Why?"}]}, "Why?"),
        ({"prompt": "Once upon"}, "Once upon"),
        ({"prompt": ["Once", "Twice"]}, "Once"),
        ({"prompt": [1, 2]}, ""),
        ({"messages": []}, ""),
        ({"messages": [{"role": "user", "content": "x" * 5_000}]}, "x" * 1_024),
        ({"messages": [SYSTEM] * 99}, "\n".join(["Be short."] * 16)),
    ],
)
def test_the_key_of_a_prompt_is_its_beginning_and_stays_through_a_conversation(body: Any, text: str) -> None:
    assert affinity.prompt(orjson.dumps(body)) == text


def test_a_body_that_is_no_json_has_no_prompt() -> None:
    assert affinity.prompt(b"--boundary") == affinity.prompt(b"") == ""


def _asked(*headers: tuple[str, str]) -> Request:
    request = parse("POST", "/v1/chat/completions", (("host", "a"), *headers), b'{"model":"chat","messages":[]}')
    assert isinstance(request, Request)
    return request


def test_a_request_without_its_header_or_without_a_text_has_no_key() -> None:
    by_header = the_pool(
        a_snapshot(
            [a_pool(strategy="ConsistentHash", consistent_hash={"by": "Header", "header": "X-Session"})],
        )
    ).strategy
    by_prompt = the_pool(
        a_snapshot([a_pool(strategy="ConsistentHash", consistent_hash={"by": "Prompt", "header": None})])
    ).strategy
    assert affinity.of(by_header, _asked(("x-session", "7"))) == hashing.number("7")
    assert affinity.of(by_header, _asked()) is None
    assert affinity.of(by_header, _asked(("x-session", ""))) is None
    assert affinity.of(by_prompt, _asked(("x-session", "7"))) is None


def test_every_sidecar_makes_the_same_number_of_a_text() -> None:
    assert hashing.number("s-1") == 0x3231059C9D4DE0D
    assert 0 <= hashing.mixed(hashing.number("\ud800"), 2**64 - 1) < hashing.BITS
