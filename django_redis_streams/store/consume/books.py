"""The books of groups: what others did is entered under the cause that there is a sign of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import Link
from ..replies import pairs
from ..scripts import Command, script
from .asking import Asking, ask, replies_to

__all__ = ["DONE_BY_OTHERS", "lanes_ever", "lost_by", "undeclared_lanes", "undeclared_lanes_of", "watch", "watching"]

# Each counter of changes by other clients, and what such a client did.
DONE_BY_OTHERS: Final[Mapping[str, str]] = {
    "moved-back": "somebody moved its position back (XGROUP SETID), or took it away and made it again",
    "made-again": "somebody took it away (XGROUP DESTROY), or a failover lost it; a worker made it again",
    "dropped": "entries were removed that it was never given (DEL, XTRIM, XDEL, XADD with a limit, HARD_MAXLEN)",
    "lost-with-consumer": "somebody deleted a consumer that held messages (XGROUP DELCONSUMER)",
    "unexplained": "messages are gone, and nothing shows why (XACK by others, XGROUP SETID onwards, XGROUP DELCONSUMER "
    "unseen, a key of the group that was deleted)",
}


def undeclared_lanes(link: Link, stream: StreamConfig) -> list[str]:
    """Return the lanes that were ever read but that LANES doesn't name (any more)."""
    return ask(link, undeclared_lanes_of(stream))


def undeclared_lanes_of(stream: StreamConfig) -> Asking[list[str]]:
    """Do as `undeclared_lanes`, beside others."""
    (fields,) = yield from replies_to([["HKEYS", stream.keys.lanes]])
    return sorted({field.partition(":")[2] for field in fields} - {*stream.lane_names})


def lanes_ever(link: Link, stream: StreamConfig) -> list[str]:
    """Return all lanes: those that are declared, and those that were ever read."""
    return [*stream.lane_names, *undeclared_lanes(link, stream)]


def lost_by(stream: StreamConfig) -> str:
    """Return the counter of missing entries: "dropped" where HARD_MAXLEN may drop entries unread, else ""."""
    return "" if stream.hard_maxlen is None else "dropped"


def watch(
    link: Link, stream: StreamConfig, groups: Sequence[str], *, lost: str = ""
) -> Mapping[str, Mapping[str, int]]:
    """Enter into the books of some groups what others did to them since the last look; return it by group.

    `lost` is the counter of the entries that are missing now, where it is known: "dropped". Raises the error of a group
    that was refused.
    """
    entered = {}
    for group, each in ask(link, watching(stream, groups, lost=lost)).items():
        if isinstance(each, ResponseError):
            raise each
        entered[group] = each
    return entered


def watching(
    stream: StreamConfig, groups: Sequence[str], *, lost: str = ""
) -> Asking[Mapping[str, Mapping[str, int] | ResponseError]]:
    """Do as `watch`, beside others; return for each group what was entered, or the error if it was refused."""
    lanes = [*stream.lane_names, *(yield from undeclared_lanes_of(stream))]
    replies = yield [_watch_command(stream, each, lanes, lost or lost_by(stream)) for each in groups]
    return {
        group: reply if isinstance(reply, ResponseError) else {name: int(count) for name, count in pairs(reply).items()}
        for group, reply in zip(groups, replies, strict=True)
    }


def _watch_command(stream: StreamConfig, group: str, lanes: Sequence[str], lost: str) -> Command:
    keys = stream.keys
    names = [keys.groups, keys.lanes, keys.totals(group), keys.retry(group), keys.books(group)]
    names += [key for lane in lanes for key in (keys.lane(lane), keys.redelivery(group, lane))]
    return script("watch")(names, group, lost, *lanes)
