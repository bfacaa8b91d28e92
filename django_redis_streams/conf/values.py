"""What a single setting may be.

Each function returns the parsed value or raises `ValueError`, whose text goes on from "<the value>: ": "expected …".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from ..keys import DEFAULT_LANE, LARGEST_PART
from ..message import LONGEST_TYPE
from .showing import holds_url, shown

__all__ = [
    "boolean", "choice", "duration", "entry_position", "events", "function", "lanes", "mapping", "message_type",
    "optional", "pair", "positive", "prefix", "rate", "some", "text", "texts", "up_to", "url", "weights", "whole",
]  # fmt: skip

_ENTRY_ID = re.compile("[0-9]{1,20}(-[0-9]{1,20})?")
_RATE = re.compile(r"(\d+)/([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_SCHEMES = (
    "redis://", "rediss://", "redis+sentinel://", "rediss+sentinel://", "redis+cluster://", "rediss+cluster://",
    "unix://", "embedded://",
)  # fmt: skip
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
# More is no limit: the server counts in microseconds.
_MOST_AT_A_RATE = 1_000_000
# In seconds: the server takes no ms beyond 64 bits, and nobody means more.
_LONGEST = 100 * 366 * 86_400
_EVENTS = ("created", "updated", "deleted")


def text(value: Any) -> str:
    """Accept text that isn't empty."""
    if not isinstance(value, str) or not value:
        raise ValueError("expected text that isn't empty")
    if holds_url(value):
        raise ValueError("expected text that isn't empty, and isn't a server's URL")
    return value


def message_type(value: Any) -> str:
    """Accept text that isn't empty and is short enough for a message's type."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TYPE:
        raise ValueError(f"expected text that isn't empty, of at most {LONGEST_TYPE:,} characters")
    return text(value)


def texts(value: Any) -> tuple[str, ...]:
    """Accept a list or tuple of texts."""
    if isinstance(value, str) or not isinstance(value, Sequence) or hasattr(value, "geturl"):
        raise ValueError("expected a list of texts")
    return tuple(text(item) for item in value)


def some(value: Any) -> tuple[str, ...]:
    """Accept a list or tuple of texts, at least one."""
    if not texts(value):
        raise ValueError("expected a list of texts, at least one")
    return texts(value)


def prefix(value: Any) -> str:
    """Accept text, possibly empty, without the colon at its end, which is added."""
    if not isinstance(value, str) or value.endswith(":") or holds_url(value):
        raise ValueError("expected text without the colon at its end, which is added")
    return value


def url(value: Any) -> str:
    """Accept the URL of a server. The error never shows it: it may hold a password."""
    if not isinstance(value, str) or not value.startswith(_SCHEMES):
        empty = value is None or (isinstance(value, str) and not value.strip())
        why = "it is empty, as a variable of the environment is that isn't set; " if empty else ""
        raise ValueError(f"{why}expected a URL that begins with one of {', '.join(_SCHEMES)}")
    return value


def function(value: Any) -> Any:
    """Accept a function, or its dotted path, which is imported when first needed."""
    if callable(value) or (isinstance(value, str) and _DOTTED.fullmatch(value)):
        return value
    raise ValueError("expected a function, or its dotted path")


def boolean(value: Any) -> bool:
    """Accept True or False."""
    if not isinstance(value, bool):
        raise ValueError("expected True or False")  # noqa: TRY004  one error for all that can be wrong
    return value


def whole(value: Any) -> int:
    """Accept an int of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("expected a whole number, 0 or more")
    return value


def positive(value: Any) -> int:
    """Accept an int of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("expected a whole number, 1 or more")
    return value


def up_to(most: int) -> Callable[[Any], int]:
    """Accept an int from 1 to so many: memory is set aside for them, or the server takes no more."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ValueError(f"expected a whole number, from 1 to {most:,}")
        return value

    return parse


def duration(value: Any) -> float:
    """Accept seconds above 0, up to a hundred years: an int, a float or a timedelta."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise ValueError("expected seconds above 0 (int, float or timedelta)")
    if seconds > _LONGEST:
        raise ValueError("expected seconds above 0, and at most a hundred years")
    return float(seconds)


def pair(value: Any) -> tuple[float, float]:
    """Accept (base, cap) of the backoff, in seconds, the base not above the cap."""
    try:
        base, cap = map(duration, value)
    except (TypeError, ValueError):
        raise ValueError("expected (base, cap), both seconds above 0 (int, float or timedelta)") from None
    if base > cap:
        raise ValueError("expected (base, cap) with the base not above the cap")
    return base, cap


def entry_position(value: Any) -> str:
    """Accept where a group starts: "0", "$" or an entry id, whose parts the server keeps in 64 bits each."""
    if value != "$" and not (isinstance(value, str) and _ENTRY_ID.fullmatch(value)):
        raise ValueError("expected '0', '$' or an entry id such as '1700000000000-0'")
    if value != "$" and any(int(part) > LARGEST_PART for part in value.split("-")):
        raise ValueError(f"expected '0', '$' or an entry id whose parts are at most {LARGEST_PART}")
    return str(value)


def events(value: Any) -> tuple[str, ...]:
    """Accept some of created, updated, deleted, at least one."""
    names = texts(value)
    if not names or not set(names) <= set(_EVENTS):
        raise ValueError(f"expected a list of some of {', '.join(_EVENTS)}")
    return names


def mapping(value: Any) -> Mapping[str, Any]:
    """Accept a dict whose keys are texts that aren't empty, and no URLs: names are shown everywhere."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
        raise ValueError("expected a dict with names as its keys")
    if wrong := next((key for key in value if holds_url(key)), None):
        raise ValueError(f"expected a dict with names as its keys, and {shown(wrong)} is a server's URL")
    return value


def lanes(value: Any) -> tuple[str, ...]:
    """Accept names of lanes, the most urgent first: two or more, one of them the plain stream's."""
    expected = f"expected a list of two or more different names, one of them {DEFAULT_LANE!r}, the most urgent first"
    try:
        names = texts(value)
    except ValueError:
        raise ValueError(expected) from None
    if names == (DEFAULT_LANE,) or len(set(names)) < len(names) or DEFAULT_LANE not in names:
        raise ValueError(expected)
    return names


def weights(value: Any) -> Mapping[str, int]:
    """Accept a dict of names of lanes to positive numbers."""
    try:
        return MappingProxyType({name: positive(weight) for name, weight in mapping(value).items()})
    except ValueError:
        raise ValueError("expected a dict with lanes as its keys, and whole numbers of 1 or more") from None


def rate(value: Any) -> float:
    """Accept a text such as "100/s", "30/m" or "1000/h"; return how many a second that is."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not int(found[1][:20]):
        raise ValueError("expected a whole number, 1 or more, a second, minute or hour, such as '100/s', '30/m', '9/h'")
    if int(found[1][:20]) > _MOST_AT_A_RATE:
        raise ValueError(f"expected a whole number, at most {_MOST_AT_A_RATE:,}, a second, minute or hour")
    return int(found[1]) / _SECONDS[found[2]]


def choice(*allowed: str) -> Callable[[Any], str]:
    """Accept one of some words."""

    def parse(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"expected {' or '.join(map(repr, allowed))}")
        return str(value)

    return parse


def optional(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Accept what `parse` accepts, or None."""
    return lambda value: None if value is None else parse(value)
