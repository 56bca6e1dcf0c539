"""What a word on the command line may be: a port, a header, a quantity; else a sentence that names what is right."""

import argparse
import re

from modelpool_cli import client
from modelpool_operator import inject_quantities

NO_LIMIT = "none"
"""Said in place of a quantity."""


def port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65_533:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a port up to 65533, not {text!r}")


def quantity(text: str) -> str:
    try:
        inject_quantities.amount(text)
    except inject_quantities.QuantityError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def limit(text: str) -> str | None:
    return None if text == NO_LIMIT else quantity(text)


def reference(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_./:@-]*", text):
        return text
    raise argparse.ArgumentTypeError(f"must be an image or a registry such as ghcr.io/acme, not {text!r}")


def variable(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if sign and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return name, value
    raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")


def header(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if sign and re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        return name, value.strip()
    raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")


def url(text: str) -> str:
    try:
        client.parts_of(text)
    except client.AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def count(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a number from 1 to 1000000, not {text!r}")


def rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if 0.01 <= rate <= 1000:
        return rate
    raise argparse.ArgumentTypeError(f"must be a number from 0.01 to 1000, not {text!r}")
