"""Replaying and discarding dead letters by their ids. Each is logged with the user's name."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _

from ... import conf, connections, wire
from ...conf import StreamConfig
from ...exceptions import NotReplayable, StreamsError
from ...keys import DEFAULT_LANE
from ...store.operate import dead_letters
from ...store.operate.bulk import Answers, run_in_chunks
from ...wire import Fields, RedeliveryMetadata
from .editing import with_payload

__all__ = ["discard", "replay", "replay_edited", "why_not_replayable"]

logger = logging.getLogger("django_redis_streams")


def replay(stream: str, entry_ids: Sequence[str], *, by: str) -> Answers[str]:
    """Give dead letters back to the groups that they failed in, and to no other; `by` says who.

    They run again with their attempts at zero. Refused with `NotReplayable`: a dead letter whose group isn't declared
    here (nobody would run it), and an entry that this package didn't write (its group is unknown). Raises
    `UnknownStream`, and redis-py's `ResponseError` where the dead letters can't be read.
    """
    config = conf.stream(stream)
    link = connections.get(config.connection)
    answers = run_in_chunks(
        entry_ids,
        lambda some: [
            _replayed(config, entry_id, fields, by)
            for entry_id, fields in zip(some, dead_letters.read(link, config, some), strict=False)
        ],
        lambda letters: dead_letters.replay(link, config, letters),
        gone=_gone(),
    )
    _log("replayed", stream, answers, by)
    return answers


def replay_edited(stream: str, entry_id: str, payload: Any, *, by: str, dry_run: bool = False) -> Answers[str]:
    """Replay one dead letter with another payload. The published fields are kept with it, however often it is edited.

    With `dry_run` nothing is changed; the answer is what it would be. Raises what `replay` raises, and for a payload
    that the message can't hold `InvalidMessage` or `PayloadTooLarge`.
    """
    config = conf.stream(stream)
    link = connections.get(config.connection)

    def prepared(some: Sequence[str]) -> list[dead_letters.Replayed | StreamsError]:
        (fields,) = dead_letters.read(link, config, some, bodies=True)
        return [_edited(config, entry_id, fields, payload, by)]

    def replayed(letters: Sequence[dead_letters.Replayed]) -> Sequence[Any]:
        return [1] * len(letters) if dry_run else dead_letters.replay(link, config, letters)

    answers = run_in_chunks([entry_id], prepared, replayed, gone=_gone())
    if not dry_run:
        _log("edited and replayed", stream, answers, by)
    return answers


def discard(stream: str, entry_ids: Sequence[str], *, by: str) -> Answers[str]:
    """Delete dead letters for good, and count them for their groups. Raises what `replay` raises."""
    config = conf.stream(stream)
    link = connections.get(config.connection)
    answers = run_in_chunks(
        entry_ids,
        lambda some: [
            (entry_id, _counted_for(fields)) if fields is not None else StreamsError(_gone())
            for entry_id, fields in zip(some, dead_letters.read(link, config, some), strict=False)
        ],
        lambda letters: dead_letters.discard(link, config, letters),
        gone=_gone(),
    )
    _log("discarded", stream, answers, by)
    return answers


def why_not_replayable(stream: StreamConfig, group: str, *, native: bool) -> NotReplayable | None:
    """Return why a dead letter can't be replayed, None if it can."""
    if not native:
        return NotReplayable(_("It was not written by this package, so the group that it failed in is unknown."))
    if group not in stream.groups:
        return NotReplayable(
            _(
                "Its group %(group)r isn't declared for stream %(stream)r in REDIS_STREAMS, so no worker would run "
                "it. Declare the group first."
            )
            % {"group": group, "stream": stream.name}
        )
    return None


def _replayed(
    stream: StreamConfig, entry_id: str, fields: Fields | None, by: str
) -> dead_letters.Replayed | StreamsError:
    """Return the arguments for the script, or the error that refuses the dead letter."""
    found = _replayable(stream, fields)
    return found if isinstance(found, StreamsError) else _letter(stream, entry_id, found[0], by)


def _edited(
    stream: StreamConfig, entry_id: str, fields: Fields | None, payload: Any, by: str
) -> dead_letters.Replayed | StreamsError:
    found = _replayable(stream, fields)
    if isinstance(found, StreamsError):
        return found
    metadata, published = found
    told = replace(metadata, edited_by=by, original=metadata.original or json.dumps(list(published)))
    return _letter(stream, entry_id, told, by, with_payload(stream, published, payload))


def _replayable(stream: StreamConfig, fields: Fields | None) -> tuple[RedeliveryMetadata, Fields] | StreamsError:
    if fields is None:
        return StreamsError(_gone())
    found = wire.split_metadata(fields)
    why = why_not_replayable(stream, found[0].group if found else "", native=found is not None)
    return why or found or NotReplayable()


def _letter(
    stream: StreamConfig, entry_id: str, metadata: RedeliveryMetadata, by: str, fields: Fields = ()
) -> dead_letters.Replayed:
    """Return the dead letter's id, group, lane and new metadata, and its fields if they are new.

    A lane that isn't declared any more is replaced by the default one, as nobody reads it.
    """
    new = replace(metadata, attempt=0, reason="", replays=metadata.replays + 1, replayed_by=by)
    lane = metadata.lane if metadata.lane in stream.lane_names else DEFAULT_LANE
    _, as_json, *rest = wire.attach_metadata(new, fields)
    return entry_id, metadata.group, lane, as_json, rest


def _counted_for(fields: Fields) -> str:
    """Return the group that a dead letter counts for, or "" if its name can't be a group's."""
    found = wire.split_metadata(fields)
    group = found[0].group if found else ""
    return "" if any(character in group for character in "{}:") else group


def _log(what: str, stream: str, answers: Answers[str], by: str) -> None:
    for entry_id in answers.done:
        logger.info(
            "Dead letter %s of %s was %s by %r.", entry_id, stream, what, by,
            extra={"stream": stream, "dead_letter": entry_id, "by": by},
        )  # fmt: skip


def _gone() -> str:
    return _("It isn't there any more. It was replayed, discarded or trimmed in the meantime.")
