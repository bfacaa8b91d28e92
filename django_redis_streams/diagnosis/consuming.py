"""Whether a group's messages are consumed: the group exists, it has handlers, and a consumer is alive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from .findings import Code, Finding
from .gathering import GroupFacts

__all__ = ["consuming_findings", "start_worker"]

# This many names are enough to find the consumers in a log.
_NAMED: Final = 3
# In seconds: shorter runs need no mention.
_LONG: Final = 30

Check = Callable[[GroupFacts], Iterator[Finding]]


def consuming_findings(group: GroupFacts) -> Iterator[Finding]:
    """Find what keeps one group from being consumed."""
    for check in _CHECKS:
        yield from check(group)


def start_worker(group: GroupFacts) -> str:
    """Return how to have the group consumed: first what a worker would refuse to start for."""
    command = f"manage.py runconsumers {group.label}"
    if isinstance(group.handlers, Exception):
        return f"Correct what keeps its handlers from being loaded; then start a worker: {command}."
    if not len(group.handlers):
        return f"Write a handler, then start a worker: {command}. Or start the program that consumes it."
    return f"Start a worker: {command}."


def handling(group: GroupFacts) -> Iterator[Finding]:
    """Find a group without handlers. If other programs consume it, it needs none here, but has living consumers."""
    if isinstance(group.handlers, Exception):
        yield Finding(
            code=Code.HANDLERS_FAIL,
            subject=group.label,
            message="The handlers can't be loaded, so no worker serves the group.",
            evidence=f"{type(group.handlers).__name__}: {group.handlers}",
            fix="Correct the module that it names; manage.py check finds more of this kind.",
        )
    elif not len(group.handlers) and not group.alive:
        yield Finding(
            code=Code.NO_HANDLER,
            subject=group.label,
            message="No handler takes its messages, and no other program's consumer is there.",
            evidence="No module of handlers declares one, no worker says that it serves the group, and the server "
            "heard of no other client's consumer lately.",
            fix="Write one in a module stream_handlers of an app, or start the program that consumes it.",
        )


def existence(group: GroupFacts) -> Iterator[Finding]:
    """Find a group that isn't on the server. Workers make it; with START "$" it skips the messages before that."""
    if group.state.missing:
        first = "with the oldest entry" if group.config.start == "0" else f"at START {group.config.start!r}"
        yield Finding(
            code=Code.GROUP_MISSING,
            subject=group.label,
            message=f"The stream has entries, but the server doesn't have the group; once made it begins {first}.",
            evidence="XINFO GROUPS doesn't name it"
            + (f"; it was deleted by {group.state.deletion.by!r}." if group.state.deletion else "."),
            fix=f"{start_worker(group)} Or: manage.py streams groups create {group.label} --start "
            f"{group.config.start}.",
        )


def life(group: GroupFacts) -> Iterator[Finding]:
    """Find a group without consumers. It is a fault only while messages wait and the group isn't paused."""
    if group.alive or group.state.paused is not None:
        return
    evidence = (
        "No worker says that it serves the group, and the server heard of no other client's consumer within "
        f"CLAIM_IDLE, {group.config.claim_idle:g} s"
    )
    if group.waits:
        yield Finding(
            code=Code.NO_CONSUMER,
            subject=group.label,
            message=f"Messages wait and nobody consumes them: {_waiting(group)}.",
            evidence=f"{evidence}; {group.oldest}.",
            fix=start_worker(group),
        )
    else:
        yield Finding(
            code=Code.IDLE,
            subject=group.label,
            message="No worker is running; nothing of the group waits for one.",
            evidence=f"{evidence}; nothing is unread, pending or waiting for a retry.",
            fix=f"When messages are to be consumed: manage.py runconsumers {group.label}.",
        )


def lanes(group: GroupFacts) -> Iterator[Finding]:
    """Find declared lanes that no worker of the group reads. Of other clients nobody knows what they read."""
    if not group.workers or any(each.alive and not each.of_worker for each in group.consumers):
        return
    name = group.config.name
    read = {lane for each in group.workers for served in each.serves if served.group == name for lane in served.lanes}
    if unread := [lane for lane in group.stream.lane_names if lane not in read]:
        yield Finding(
            code=Code.UNSERVED_LANE,
            subject=group.label,
            message=f"No worker reads {'lanes' if len(unread) > 1 else 'lane'} {', '.join(unread)}: what is published "
            "there waits for good.",
            evidence=f"LANES declares {', '.join(group.stream.lane_names)}; the group's {len(group.workers):,} worker "
            f"processes say that they read {', '.join(sorted(read))}.",
            fix="Restart the group's workers with these settings.",
        )


def long_runs(group: GroupFacts) -> Iterator[Finding]:
    """Find runs that go on for long: mostly that is right, and the consumer isn't silent but busy."""
    if long := [each for each in group.runs if each.seconds >= _LONG]:
        more = f"; and {len(long) - _NAMED:,} more" if len(long) > _NAMED else ""
        yield Finding(
            code=Code.LONG_RUNS,
            subject=group.label,
            message=f"Handlers are at work for long: {'; '.join(map(str, long[:_NAMED]))}{more}.",
            evidence="Their processes say so: "
            + ", ".join(dict.fromkeys(each.consumer for each in long[:_NAMED]))
            + ".",
            fix="Nothing, where long runs are right. Else give what a handler waits for a time-out, or lower TIMEOUT.",
        )


def pause(group: GroupFacts) -> Iterator[Finding]:
    """Find a paused group: a pause is intended, but easily forgotten."""
    if group.state.paused is not None:
        yield Finding(
            code=Code.PAUSED,
            subject=group.label,
            message=f"The group is paused: workers leave its messages alone. {_waiting(group)}.",
            evidence=f"It was paused at {group.state.paused:%Y-%m-%d %H:%M:%S %Z}.",
            fix=f"manage.py streams resume {group.label}",
        )


def dead_consumers(group: GroupFacts) -> Iterator[Finding]:
    """Find messages of dead consumers. Workers claim those after CLAIM_IDLE; these waited twice as long."""
    dead = [
        each
        for each in group.consumers
        if each.pending and not (each.returned or each.alive) and each.idle > 2 * group.config.claim_idle
    ]
    if dead:
        held, some = sum(each.pending for each in dead), ", ".join(each.name for each in dead[:_NAMED])
        some += ", …" if len(dead) > _NAMED else ""
        yield Finding(
            code=Code.HELD_BY_DEAD,
            subject=group.label,
            message=f"{len(dead):,} dead consumers hold {held:,} messages: {some}.",
            evidence="No worker says that they are its own, and XINFO CONSUMERS that they are silent for more than "
            f"twice CLAIM_IDLE, {group.config.claim_idle:g} s.",
            fix=f"{start_worker(group)} It claims them. A worker that runs already can be given them: "
            f"manage.py streams release {group.label}.",
        )


def suspects(group: GroupFacts) -> Iterator[Finding]:
    """Find suspects: a message that ended its worker runs alone, until it finishes or has had MAX_CRASHES runs."""
    if group.state.suspects:
        yield Finding(
            code=Code.SUSPECTS,
            subject=group.label,
            message=f"{group.state.suspects:,} messages may have ended the worker that ran them. "
            "They run alone, in quarantine.",
            evidence="They are in the group's suspects, which a dead worker's supervisor or a claim wrote down.",
            fix="The worker's log names message and handler; a worker must run for the quarantine to end.",
        )


def _waiting(group: GroupFacts) -> str:
    state = group.state
    unread = "an unknown number" if state.unread is None else f"{state.unread:,}"
    return f"{unread} unread, {state.pending:,} pending, {state.retrying:,} waiting for a retry"


_CHECKS: Final[tuple[Check, ...]] = (
    handling, existence, life, lanes, pause, dead_consumers, suspects, long_runs,
)  # fmt: skip
