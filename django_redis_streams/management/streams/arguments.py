"""What single arguments of sub-commands mean: numbers, time spans, places in a stream."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from typing import Final

from ...conf import values

__all__ = ["count", "position", "seconds"]

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def count(text: str) -> int:
    """A whole number above 0."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"{text!r}: expected a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """A time span in seconds."""
    found = _AGE.fullmatch(text)
    if not found:
        raise ArgumentTypeError(f"{text!r}: expected a time span, such as 90s, 5m, 1h, 7d or 2w")
    return float(found[1]) * _SECONDS[found[2]]


def position(text: str) -> str:
    """Where in a stream: "0", "$" or an entry id."""
    try:
        return values.entry_position(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: {error}") from None
