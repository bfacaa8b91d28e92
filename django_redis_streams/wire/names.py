"""The few field names that mean something in an entry.

They are CloudEvents' names where it has one
(https://github.com/cloudevents/spec/blob/main/cloudevents/spec.md#context-attributes).
"""

from __future__ import annotations

from collections.abc import Sequence
from string import hexdigits
from typing import Final

# Name, value, name, value …: as the server gives them, in order, duplicates too.
Fields = Sequence[str]

ENVELOPE: Final = frozenset({"id", "type", "data", "time", "key", "headers"})
FLAT_ID: Final = "drs-id"
METADATA: Final = "drs"
FOLDED: Final = "drs-folded"
# The fields that say which message an entry holds, of which type, and what is known of its runs. A folded entry holds
# all its fields in one.
IDENTIFYING: Final = (METADATA, FOLDED, FLAT_ID, "id", "type")
# Names and values together: the most that scripts move as they are. A script can hand about 8,000 values to one command
# (LUAI_MAXCSTACK, alike on all servers); an entry of this package that has more travels folded into one field.
MOST_FIELDS: Final = 6_000

# Each byte of a text as what it is in a line of UUIDs: a digit, a dash, a space, or none of these. A regular expression
# takes twice as long.
_KINDS: Final = bytes(ord("0" if (c := chr(byte)) in hexdigits else c if c in "- " else "?") for byte in range(256))
_UUID: Final = b"-".join(b"0" * digits for digits in (8, 4, 4, 4, 12))


def is_uuid(text: str) -> bool:
    """Return whether this is a UUID in its usual form, in letters of either case."""
    return text.encode("ascii", "replace").translate(_KINDS) == _UUID


def are_uuids(texts: Sequence[str]) -> bool:
    """Return whether each of these is a UUID: for a hundred at once it takes a quarter of the time.

    A space inside a text would stand where the line has none: no text can borrow from its neighbour.
    """
    return " ".join(texts).encode("ascii", "replace").translate(_KINDS) == b" ".join([_UUID] * len(texts))
