"""Numbers that are the same in every sidecar, made of text: 64 bits, spread like chance. They keep no secret."""

import hashlib

BITS = 2**64
_MASK = BITS - 1


def number(text: str) -> int:
    """The number of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def mixed(one: int, other: int) -> int:
    """Both together, every bit of them in every bit of it (the end of splitmix64)."""
    bits = ((one ^ other) + 0x9E3779B97F4A7C15) & _MASK
    bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & _MASK
    return bits ^ bits >> 31


def inverted(one: int) -> int:
    """Another number that goes with it."""
    return ~one & _MASK
