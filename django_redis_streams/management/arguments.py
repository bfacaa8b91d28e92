"""Parsers of single arguments: numbers, ports, time spans, rates, positions in a stream."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Final

from ..conf import values

__all__ = ["count", "length", "port", "position", "rate", "seconds"]

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def count(text: str) -> int:
    """Parse a whole number above 0."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"{text!r}: expected a whole number above 0")
    return int(text)


def length(text: str) -> int:
    """Parse a whole number, 0 or more."""
    if not (text.isascii() and text.isdecimal()):
        raise ArgumentTypeError(f"{text!r}: expected a whole number, 0 or more")
    return int(text)


def port(text: str) -> int:
    """Parse the number of a port."""
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise ArgumentTypeError(f"{text!r}: expected a port, 1 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """Parse a time span and return it in seconds, at most what a `timedelta` holds."""
    found = _AGE.fullmatch(text)
    try:
        if found:
            return timedelta(seconds=float(found[1]) * _SECONDS[found[2]]).total_seconds()
    except OverflowError:
        pass
    raise ArgumentTypeError(f"{text!r}: expected a time span, such as 90s, 5m, 1h, 7d or 2w")


def rate(text: str) -> float:
    """Parse a rate as the setting RATE takes it; return how many a second."""
    try:
        return values.rate(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: {error}") from None


def position(text: str) -> str:
    """Parse a position in a stream: "0", "$" or an entry id."""
    try:
        return values.entry_position(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}: {error}") from None
