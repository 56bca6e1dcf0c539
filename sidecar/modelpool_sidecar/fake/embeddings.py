"""Embeddings: for each text a vector of length 1 that depends on nothing but the text and the model."""

import array
import base64
import hashlib
import math
import sys
from typing import Any

from modelpool_sidecar.fake.question import Question

DIMENSIONS = 8
MAX_DIMENSIONS = 4096


def embeddings(question: Question) -> dict[str, Any]:
    """The list of vectors, as numbers or, as the official SDKs ask for them, as base64 of little-endian float32."""
    size = min(question.dimensions or DIMENSIONS, MAX_DIMENSIONS)
    vectors = [vector(f"{question.model}\n{text}", size) for text in question.inputs]
    asked = question.prompt_tokens
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(numbers) if question.base64 else numbers}
            for index, numbers in enumerate(vectors)
        ],
        "model": question.model,
        "usage": {"prompt_tokens": asked, "total_tokens": asked},
    }


def vector(text: str, size: int) -> list[float]:
    """A vector of this size and length 1."""
    raw = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(2 * size)
    numbers = [int.from_bytes(raw[at : at + 2], "big") - 32767.5 for at in range(0, 2 * size, 2)]
    length = math.sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]


def _packed(numbers: list[float]) -> str:
    floats = array.array("f", numbers)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()
