"""An operator's actions on a consumer group: pause, resume, make, reset and delete it, and remove a consumer.

For the admin and for commands. No worker on any host reads a paused group. Its workers finish the messages that they
have in hand; all others wait on the server. The pause is kept there too, so it outlives restarts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from .. import conf, connections
from ..conf import StreamConfig
from ..connections import Link
from ..exceptions import GroupInUse, UnknownStream
from ..keys import DEFAULT_LANE
from ..store.consume import groups as store
from ..store.consume.books import lanes_ever
from ..store.consume.consumers import remove
from ..store.consume.membership import Membership
from ..store.consume.ownership import hand_back
from ..store.consume.promote import waiting_retries
from ..store.observe.contents import MOST_COUNTED, length, span
from ..store.observe.sources import Pending, group_names
from ..store.replies import group_is_gone

__all__ = [
    "ResetEffect",
    "Waiting",
    "check_undeclared",
    "create",
    "delete",
    "in_use",
    "is_paused",
    "pause",
    "remove_consumer",
    "reset",
    "reset_effect",
    "resume",
    "waiting",
]

logger = logging.getLogger("django_redis_streams")

# This many names are enough to find the consumers.
_NAMED: Final = 5


def pause(stream: str, group: str, *, by: str) -> bool:
    """Have no worker read a group's messages, from about a second from now on; return whether it wasn't paused before.

    `by` says who, for the log. Raises `UnknownStream` for a stream or group that isn't declared,
    `ServerUnreachable`, and redis-py's `ResponseError`.
    """
    config, link = _declared(stream, group)
    done = store.pause(link, config.keys, group)
    if done:
        _log("paused", stream, group, by)
    return done


def resume(stream: str, group: str, *, by: str) -> bool:
    """Have workers read a group's messages again; return whether it was paused. Raises what `pause` raises."""
    config, link = _declared(stream, group)
    done = store.resume(link, config.keys, group)
    if done:
        _log("resumed", stream, group, by)
    return done


def is_paused(stream: str, group: str) -> bool:
    """Return whether a group is paused. Raises what `pause` raises."""
    config, link = _declared(stream, group)
    return store.paused_since(link.call(*store.paused_command(config.keys, group))) is not None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The messages that wait for one group and go with it: pending, to be retried, to be redelivered.

    `consumers` are those that are alive, as far as the server can tell: see `delete`.
    """

    pending: int
    retrying: int
    redelivered: int
    consumers: Sequence[str]


@dataclass(frozen=True, slots=True)
class ResetEffect:
    """What a reset does: how many messages the group gets `again`, how many are `skipped`.

    10,000 stands for that many or more.
    """

    again: int
    skipped: int


def create(stream: str, group: str, start: str, *, by: str) -> bool:
    """Make a group if it is missing, to begin after an entry id, or at "0" or "$"; return whether it was made.

    It needn't be declared: another client may read it. A group that existed before, and wasn't deleted by
    `delete`, begins where it began then. Raises `UnknownStream`, also for a name that no group may have, and the
    server's errors.
    """
    member, link = _member(stream, group)
    made = store.make_group(link, member, start).made
    if made:
        _log("created", stream, group, by)
    return made


def waiting(stream: str, group: str) -> Waiting:
    """Return what the deletion of a group would lose. Raises `UnknownStream` where it isn't on the server."""
    member, link = _there(stream, group)
    sources = Pending.of(member.stream, group)
    asked = [each.size_command() for each in sources]
    pending = [_size(each, reply) for each, reply in zip(sources, link.call_many(asked), strict=True)]
    lengths = [length(link, each.key) for each in sources if each.redelivered]
    living = store.delete_group(link, member, lanes_ever(link, member.stream), "look").consumers
    return Waiting(sum(pending), waiting_retries(link, member.keys, group), sum(lengths), living)


def delete(stream: str, group: str, *, by: str, force: bool = False) -> bool:
    """Delete a group, the messages that wait for it, its record and its books; return whether it was there.

    Without `force`, raises `GroupInUse` where the settings declare the group, since the next worker would make it
    again, or where somebody consumes it: a worker that is alive, or another client's consumer that read within half a
    minute. Workers that run meanwhile stop reading it, and drop what they have in hand. Raises as `create`.
    """
    member, link = _member(stream, group)
    if not force:
        check_undeclared(stream, group)
    done = store.delete_group(link, member, lanes_ever(link, member.stream), "force" if force else "safe", by=by)
    if not done.done:
        raise in_use(stream, group, done.consumers)
    if done.there:
        _log("deleted", stream, group, by)
    return done.there


def check_undeclared(stream: str, group: str) -> None:
    """Raise `GroupInUse` for a group that the settings declare."""
    if group in conf.stream(stream).groups:
        raise GroupInUse(
            f"{stream}:{group} is declared, so the next worker would create it again. Take it out of REDIS_STREAMS and "
            "deploy that first, or add --force."
        )


def in_use(stream: str, group: str, consumers: Sequence[str]) -> GroupInUse:
    """Return the error for a group that these consumers read."""
    named = ", ".join(map(repr, consumers[:_NAMED])) + (", …" if len(consumers) > _NAMED else "")
    return GroupInUse(
        f"{stream}:{group} is consumed: the server heard lately of {named}. Stop its "
        f"consumers, and try again {store.HEARD_WITHIN:g} s later. Or add --force: then workers stop "
        "reading it, and drop what they have in hand."
    )


def reset_effect(stream: str, group: str, start: str) -> ResetEffect:
    """Return what `reset` would do, and do nothing. Raises `UnknownStream` where the group isn't on the server."""
    member, link = _member(stream, group)
    again = skipped = 0
    for lane, last in _delivered(member, link).items():
        key = member.keys.lane(lane)
        again += span(link, key, f"({start}", last) if start != "$" else 0
        skipped += span(link, key, f"({last}", "+" if start == "$" else start)
    return ResetEffect(min(again, MOST_COUNTED), min(skipped, MOST_COUNTED))


def reset(stream: str, group: str, start: str, *, by: str) -> str:
    """Have a group read on after an entry id, from "0", or with "$" only new messages; return the entry id.

    Pending messages stay pending, except those that the group gets again: they become unread. Retries stay as they are.
    A declared group is made on lanes where it is missing. Raises as `reset_effect`.
    """
    member, link = _member(stream, group)
    lanes: Sequence[str] = list(_delivered(member, link))
    if group in member.stream.groups and len(lanes) < len(member.stream.lane_names):
        store.make_group(link, member, start, anew=False)
        lanes = member.stream.lane_names
    try:
        found = store.set_group(link, member, lanes, start)
    except ResponseError as error:
        if group_is_gone(error):  # meanwhile
            raise _missing(member) from error
        raise
    _log(f"set to {found}", stream, group, by)
    return found


def remove_consumer(stream: str, group: str, consumer: str, *, release: bool, by: str) -> bool:
    """Remove a consumer; return False where it holds messages, unless `release` gives them back to the workers.

    A living consumer comes back with its next read, and released messages run twice. Raises as `create`.
    """
    member, link = _member(stream, group)
    named = Membership(member.stream, member.group, consumer)
    if release:
        hand_back(link, named)
        done = True
    else:
        done = remove(link, named)
    if done:
        logger.info(
            "The consumer %r of %s:%s was removed by %r.", consumer, stream, group, by,
            extra={"stream": stream, "group": group, "consumer": consumer, "by": by},
        )  # fmt: skip
    return done


def _size(source: Pending, reply: Any) -> int:
    if isinstance(reply, Exception):
        if group_is_gone(reply):
            return 0
        raise reply
    return source.size(reply)


def _member(stream: str, group: str) -> tuple[Membership, Link]:
    """Return a membership without a consumer's name, and the link; the group needn't be declared."""
    config, settings = conf.stream(stream), conf.any_group(stream, group)
    return Membership(config, settings, ""), connections.get(config.connection)


def _there(stream: str, group: str) -> tuple[Membership, Link]:
    member, link = _member(stream, group)
    if group not in (known := group_names(link, [member.stream])[0]):
        raise UnknownStream(
            f"Stream {stream!r} has no group {group!r}: there are {', '.join(map(repr, known)) or 'none'}."
        )
    return member, link


def _delivered(member: Membership, link: Link) -> dict[str, str]:
    """Return the lanes that have the group, each with the id that was last delivered to the group there.

    Raises `UnknownStream`.
    """
    on_lanes = {lane: store.delivered_to(link, member.keys.lane(lane)) for lane in member.stream.lane_names}
    found = {lane: groups[member.group.name] for lane, groups in on_lanes.items() if member.group.name in groups}
    if DEFAULT_LANE not in found:
        raise _missing(member)
    return found


def _missing(member: Membership) -> UnknownStream:
    label = f"{member.stream.name}:{member.group.name}"
    return UnknownStream(
        f"Group {member.group.name!r} of stream {member.stream.name!r} isn't on the server: no worker has made it yet, "
        f"or it was deleted. Make it where it is to begin (streams groups create {label} --start …)."
    )


def _declared(stream: str, group: str) -> tuple[StreamConfig, Link]:
    config, _ = conf.stream(stream), conf.group(stream, group)
    return config, connections.get(config.connection)


def _log(what: str, stream: str, group: str, by: str) -> None:
    logger.info(
        "%s:%s was %s by %r.", stream, group, what, by, extra={"stream": stream, "group": group, "by": by}
    )  # fmt: skip
