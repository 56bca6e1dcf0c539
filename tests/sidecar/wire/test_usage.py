"""Tokens are read under every name that OpenAI and its relatives give them."""

from typing import Any

import pytest

from modelpool_sidecar.core import usage
from modelpool_sidecar.core.record import Usage


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}, Usage(3, 5)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3)),
        (
            {
                "prompt_tokens": 30,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 20},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(30, 5, 20, 4),
        ),
        (
            {
                "input_tokens": 30,
                "output_tokens": 5,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(30, 5, 0, 4),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 7}, Usage(9, 1, 7)),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, Usage(9)),
        ({"prompt_tokens": -1, "completion_tokens": 1.5, "input_tokens": True}, Usage()),
        ({"prompt_tokens": 4_294_967_295, "completion_tokens": 100_000_001}, Usage()),
        ({"prompt_tokens": 100_000_000, "completion_tokens": 0}, Usage(100_000_000, 0)),
        ({}, Usage()),
        (None, Usage()),
        ([1], Usage()),
    ],
)
def test_usage_is_what_the_provider_counted(told: Any, read: Usage) -> None:
    assert usage.read(told) == read
