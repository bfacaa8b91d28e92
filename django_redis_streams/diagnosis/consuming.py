"""Whether a group's messages are consumed: is it there, has it handlers, is somebody alive to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from .findings import Finding, Kind
from .gathering import GroupFacts

__all__ = ["consuming_findings"]

# So many names are enough to find them in a log.
_NAMED: Final = 3

Check = Callable[[GroupFacts], Iterator[Finding]]


def consuming_findings(group: GroupFacts) -> Iterator[Finding]:
    """What keeps one group from being consumed."""
    for check in _CHECKS:
        yield from check(group)


def handling(group: GroupFacts) -> Iterator[Finding]:
    """A group that other programs consume needs no handler here; it has living consumers then."""
    if isinstance(group.handlers, Exception):
        yield Finding(
            kind=Kind.HANDLERS_FAIL,
            where=group.where,
            what="The handlers can't be loaded, so no worker starts.",
            because=f"{type(group.handlers).__name__}: {group.handlers}",
            mend="Correct the module that it names; manage.py check finds more of this kind.",
        )
    elif not len(group.handlers) and not group.alive:
        yield Finding(
            kind=Kind.NO_HANDLER,
            where=group.where,
            what="No handler takes its messages, and no other program's consumer is there.",
            because="No module of handlers declares one, and the server heard of no consumer lately.",
            mend="Write one in a module stream_handlers of an app, or start the program that consumes it.",
        )


def existence(group: GroupFacts) -> Iterator[Finding]:
    """Workers make the groups that they serve; with START "$" a group skips what came before."""
    if group.state.missing:
        first = "with the oldest entry" if group.config.start == "0" else f"at START {group.config.start!r}"
        yield Finding(
            kind=Kind.GROUP_MISSING,
            where=group.where,
            what=f"The stream has entries, but the server doesn't have the group; once made it begins {first}.",
            because="XINFO GROUPS doesn't name it"
            + (f"; it was deleted by {group.state.deletion.by!r}." if group.state.deletion else "."),
            mend=f"Start a worker, or manage.py streams groups create {group.where} --start {group.config.start}.",
        )


def life(group: GroupFacts) -> Iterator[Finding]:
    """Nobody there is a fault only while something waits, and nobody has paused the group."""
    if group.alive or group.state.paused is not None:
        return
    because = f"The server heard of none of its consumers within CLAIM_IDLE, {group.config.claim_idle:g} s"
    if group.waits:
        yield Finding(
            kind=Kind.NO_CONSUMER,
            where=group.where,
            what=f"Messages wait and nobody consumes them: {_waiting(group)}.",
            because=f"{because}; the oldest unread is {group.state.oldest_unread:,.0f} s old.",
            mend=f"Start a worker: manage.py runconsumers {group.where}.",
        )
    else:
        yield Finding(
            kind=Kind.IDLE,
            where=group.where,
            what="No worker is running; nothing waits for one.",
            because=f"{because}; nothing is unread, pending or waiting for a retry.",
            mend=f"When messages are to be consumed: manage.py runconsumers {group.where}.",
        )


def pause(group: GroupFacts) -> Iterator[Finding]:
    """A paused group is left alone on purpose, and easily forgotten."""
    if group.state.paused is not None:
        yield Finding(
            kind=Kind.PAUSED,
            where=group.where,
            what=f"The group is paused: workers leave its messages alone. {_waiting(group)}.",
            because=f"It was paused at {group.state.paused:%Y-%m-%d %H:%M:%S %Z}.",
            mend=f"manage.py streams resume {group.where}",
        )


def dead_consumers(group: GroupFacts) -> Iterator[Finding]:
    """Workers claim what is stale within CLAIM_IDLE; twice that time, nobody did."""
    dead = [
        each
        for each in group.consumers
        if each.pending and not each.returned and each.idle > 2 * group.config.claim_idle
    ]
    if dead:
        held, some = sum(each.pending for each in dead), ", ".join(each.name for each in dead[:_NAMED])
        some += ", …" if len(dead) > _NAMED else ""
        yield Finding(
            kind=Kind.HELD_BY_DEAD,
            where=group.where,
            what=f"{len(dead):,} dead consumers hold {held:,} messages: {some}.",
            because=f"XINFO CONSUMERS: silent for more than twice CLAIM_IDLE, {group.config.claim_idle:g} s.",
            mend=f"Start a worker, which claims them; or manage.py streams claim {group.where}.",
        )


def suspects(group: GroupFacts) -> Iterator[Finding]:
    """What ended a worker runs alone, until it finishes or was tried MAX_CRASHES times."""
    if group.state.suspects:
        yield Finding(
            kind=Kind.SUSPECTS,
            where=group.where,
            what=f"{group.state.suspects:,} messages may have ended the worker that ran them. "
            "They run alone, in quarantine.",
            because="They are in the group's suspects, which a dead worker's supervisor or a claim wrote down.",
            mend="The worker's log names message and handler; a worker must run for the quarantine to end.",
        )


def _waiting(group: GroupFacts) -> str:
    state = group.state
    unread = "an unknown number" if state.unread is None else f"{state.unread:,}"
    return f"{unread} unread, {state.pending:,} pending, {state.retrying:,} waiting for a retry"


_CHECKS: Final[tuple[Check, ...]] = (handling, existence, life, pause, dead_consumers, suspects)
