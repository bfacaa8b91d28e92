"""JSON that a person gives to a command: an ambiguous text is an error, so that nothing of it is lost in silence."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

__all__ = ["value_of"]


def value_of(text: str) -> Any:
    """Return the value of a JSON text.

    Raises `ValueError` also for NaN and for a repeated key, which Python would take.
    """
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice!r} is given twice in one object, and only one of its values could be kept")
    return value
