"""Finding the fault in a payload. All but `has_odd_dicts` is for the error: no sound payload is looked into."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from marshal import dumps
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.utils.datastructures import MultiValueDict

from .showing import excerpt

__all__ = ["Fault", "alike", "first_fault", "has_odd_dicts", "merged_keys", "multi_valued"]

# How many parts are looked into: a payload that gives something else each time could have no end.
_LOOKED_INTO: Final = 1_000_000
# The middle of a longer path is left out.
_LONGEST_PATH: Final = 20
_TEXT: Final = frozenset({str})
# The usual types that hold no others.
_LEAVES: Final = frozenset({str, int, float, bool, type(None), Decimal, datetime, date, UUID})


class Fault(NamedTuple):
    """A part of a payload that can't be written: its path, such as "payload['lines'][0]", itself, and the error."""

    path: str
    part: Any
    error: Exception


class _Place(NamedTuple):
    """Where a part stands: the key or index within the part that holds it. A path is made of it only for an error."""

    above: _Place | None
    key: Any

    def path(self, what: str) -> str:
        keys = []
        place: _Place | None = self
        while place is not None and place.above is not None:
            keys.append(f"[{excerpt(place.key)}]")
            place = place.above
        if len(keys) > _LONGEST_PATH:
            keys[_LONGEST_PATH // 2 : -_LONGEST_PATH // 2] = ["[…]"]
        return what + "".join(reversed(keys))


def first_fault(value: Any, what: str, write: Callable[[Any], object]) -> Fault | None:
    """Return the first part that `write` raises for, in the order of writing; None where it raises for none."""
    for place, part in _parts(value):
        try:
            if isinstance(part, dict):
                for key, _ in list(part.items()):  # as the encoder asks for them
                    write({key: None})
            elif not isinstance(part, list | tuple):
                write(part)
        except Exception as error:  # noqa: BLE001  a lazy text or an encoder's method may raise anything
            return Fault(place.path(what), part, error)
    return None


def has_odd_dicts(value: Any) -> bool:
    """Return whether a value that can be written holds a dict that may lose a value when it is written.

    Such are a dict of a class of its own, which says what its items are, and one with keys that aren't just text: two
    of these may be the same when written. A value of Python's own types alone isn't looked into (marshal, written in C,
    takes no others): there the written text tells of such keys.
    """
    try:
        dumps(value, 2)
    except ValueError:
        return _found_odd_dicts(value)
    return False


def _found_odd_dicts(value: Any) -> bool:
    found = [value]
    for part in found:  # which grows
        kind = type(part)
        if kind in _LEAVES:
            continue
        if kind is dict:
            if not _TEXT.issuperset(map(type, part)):
                return True
            found += part.values()
        elif isinstance(part, dict):
            return True
        elif isinstance(part, (list, tuple)):  # twice as fast as with `|`
            found += part
    return False


def multi_valued(value: Any, what: str) -> tuple[str, Any] | None:
    """Return the path of the first dict that holds several values for a key but shows only the last, and the dict."""
    for place, part in _parts(value):
        if isinstance(part, MultiValueDict):
            return place.path(what), part
    return None


def merged_keys(value: Any, what: str, write: Callable[[Any], str]) -> tuple[str, Any, Any] | None:
    """Return the path of the first dict with two keys that are written alike, and these; None where there is none."""
    for place, part in _parts(value):
        if isinstance(part, dict):
            keys = alike((key for key, _ in part.items()), lambda key: write({key: None}))
            if keys is not None:
                return (place.path(what), *keys)
    return None


def alike(keys: Iterable[Any], text_of: Callable[[Any], str]) -> tuple[Any, Any] | None:
    """Return the first two keys whose texts are the same; None where there are none."""
    seen: dict[str, Any] = {}
    for key in keys:
        text = text_of(key)
        if text in seen:
            return seen[text], key
        seen[text] = key
    return None


def _parts(value: Any) -> Iterator[tuple[_Place, Any]]:
    """Yield all parts of a payload, each before those that it holds, in the order in which they are written.

    It keeps a list of what is still open: a payload may be deeper than Python's functions may call each other.
    """
    found: list[tuple[_Place, Any]] = [(_Place(None, None), value)]
    for _ in range(_LOOKED_INTO):
        if not found:
            return
        place, part = found.pop()
        yield place, part
        if isinstance(part, dict):
            inner: Iterable[tuple[Any, Any]] = part.items()
        elif isinstance(part, list | tuple):
            inner = enumerate(part)
        else:
            continue
        found += [(_Place(place, key), each) for key, each in reversed(list(inner))]
