"""An entry that this package wrote: metadata in one field `drs`, then the original fields, same order and same bytes.

Only the redelivery streams and the dead letter queue hold such entries; on a main stream a field named
`drs` is a field like any other.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from typing import Any, Final

from ..keys import DEFAULT_LANE
from .names import FOLDED, METADATA, MOST_FIELDS, Fields

__all__ = ["RedeliveryMetadata", "attach_metadata", "split_metadata"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeliveryMetadata:
    """All that is known of a message that left its main stream.

    `id` is the message's; `source` and `entry` the key and entry id that it was published as; `attempt` how
    many runs have been counted; `first` and `last` when it first and last failed, in ms since 1970;
    `unavailable_since` since when each of its runs has found a database unavailable, likewise;
    `replays` how often it was replayed, `replayed_by` by whom last. If its payload was edited, `original` are the
    fields that were published, as a JSON list, and `edited_by` says by whom last.
    """

    id: str
    source: str
    entry: str
    type: str = ""
    lane: str = DEFAULT_LANE
    group: str = ""
    attempt: int = 0
    handler: str = ""
    reason: str = ""
    error: str = ""
    traceback: str = ""
    first: int = 0
    last: int = 0
    unavailable_since: int = 0
    replays: int = 0
    replayed_by: str = ""
    original: str = ""
    edited_by: str = ""


_TYPES: Final = {field.name: int if field.type == "int" else str for field in fields_of(RedeliveryMetadata)}
_DEFAULTS: Final = {field.name: field.default for field in fields_of(RedeliveryMetadata)}


def attach_metadata(metadata: RedeliveryMetadata, fields: Fields) -> list[str]:
    """Return the fields of an entry: its metadata without what isn't set, then the original fields."""
    known = {name: value for name, value in asdict(metadata).items() if value != _DEFAULTS[name]}
    return [METADATA, json.dumps(known, separators=(",", ":")), *_folded(fields)]


def split_metadata(fields: Fields) -> tuple[RedeliveryMetadata, Fields] | None:
    """Return the metadata and the original fields of an entry; None for one that this package didn't write."""
    if not fields or fields[0] != METADATA:
        return None
    try:
        metadata: dict[str, Any] = json.loads(fields[1])
        known: dict[str, Any] = {name: value for name, value in metadata.items() if type(value) is _TYPES.get(name)}
        return RedeliveryMetadata(**known), _unfolded(fields[2:])
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _folded(fields: Fields) -> Fields:
    """Return the fields, folded into one if they and the metadata are more than a script moves."""
    if len(fields) + 2 <= MOST_FIELDS and not _is_folded(fields):
        return fields
    return [FOLDED, json.dumps(list(fields))]


def _is_folded(fields: Fields) -> bool:
    return list(fields[::2]) == [FOLDED]


def _unfolded(fields: Fields) -> Fields:
    if _is_folded(fields):
        unfolded: Any = json.loads(fields[1])
        if len(unfolded) % 2:
            raise ValueError("a name without a value")
        return [str(field) for field in unfolded]
    return fields
