"""What a person does about dead letters: replay them, or discard them.

For the admin and for commands. Both may be asked for twice, by two people at once: it is done once, and the
other is told that it was gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from django.utils.translation import gettext as _

from . import conf, connections, wire
from .conf import StreamConfig
from .exceptions import NotReplayable, StreamsError
from .keys import DEFAULT_LANE
from .store import dead_letters
from .store.answers import Answers, gather
from .wire import Fields

__all__ = ["discard", "replay"]


def replay(stream: str, entry_ids: Sequence[str], *, by: str) -> Answers[str]:
    """Give dead letters back to the groups that they failed in, and to no other; `by` says who.

    They run again with their attempts at zero. Refused with `NotReplayable`: where the group isn't declared
    here (nobody would run it), and entries that aren't ours (nobody knows which group they are for). Raises
    `UnknownStream`, and redis-py's `ResponseError` where the dead letters can't be read.
    """
    config = conf.stream(stream)
    link = connections.get(config.connection)
    return gather(
        entry_ids,
        lambda some: [
            _replayed(config, entry_id, fields, by)
            for entry_id, fields in zip(some, dead_letters.read(link, config, some), strict=True)
        ],
        lambda letters: dead_letters.replay(link, config, letters),
        gone=_gone(),
    )


def discard(stream: str, entry_ids: Sequence[str]) -> Answers[str]:
    """Delete dead letters for good; they are counted for their groups. Raises what `replay` raises."""
    config = conf.stream(stream)
    link = connections.get(config.connection)
    return gather(
        entry_ids,
        lambda some: [
            (entry_id, _counted_for(fields)) if fields is not None else StreamsError(_gone())
            for entry_id, fields in zip(some, dead_letters.read(link, config, some), strict=True)
        ],
        lambda letters: dead_letters.discard(link, config, letters),
        gone=_gone(),
    )


def why_not_replayable(stream: StreamConfig, group: str, *, ours: bool) -> NotReplayable | None:
    """Why a dead letter can't go back, None where it can."""
    if not ours:
        return NotReplayable(_("It was not written by this package: which group it failed in can't be told."))
    if group not in stream.groups:
        return NotReplayable(
            _("Its group %(group)r isn't declared for stream %(stream)r in REDIS_STREAMS: nobody would run it.")
            % {"group": group, "stream": stream.name}
        )
    return None


def _replayed(
    stream: StreamConfig, entry_id: str, fields: Fields | None, by: str
) -> tuple[str, str, str, str] | StreamsError:
    """What the script needs: the entry's id, its group, its lane and its new metadata.

    Where its lane isn't declared any more, nobody reads that: then it is the default one.
    """
    if fields is None:
        return StreamsError(_gone())
    ours = wire.uncarry(fields)
    carried = ours[0] if ours else None
    why = why_not_replayable(stream, carried.group if carried else "", ours=carried is not None)
    if why or carried is None:
        return why or NotReplayable()
    new = replace(carried, attempt=0, reason="", replays=carried.replays + 1, replayed_by=by)
    lane = carried.lane if carried.lane in stream.lane_names else DEFAULT_LANE
    return entry_id, carried.group, lane, wire.carry(new, [])[1]


def _counted_for(fields: Fields) -> str:
    """The group that a dead letter counts for; "" where its name can't be one."""
    ours = wire.uncarry(fields)
    group = ours[0].group if ours else ""
    return "" if any(character in group for character in "{}:") else group


def _gone() -> str:
    return _("It isn't there any more: replayed, discarded or trimmed in the meantime.")
