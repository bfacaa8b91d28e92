"""Whether a group's workers are fast enough, and how their runs end, by the activity of the last hour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..inspection import Activity, visible
from .findings import Code, Finding
from .gathering import GroupFacts

__all__ = ["pace_findings"]

# In minutes: longer than a pause between two batches, short enough to show the present.
_LATELY: Final = 10
# In seconds. A living worker takes a waiting message within one second.
_STANDSTILL: Final = 300
# In seconds: the time to handle all unread messages at the latest rate.
_FAR_BEHIND: Final = 600
# In seconds a message: a slower thread handles fewer than 3,600 an hour.
_SLOW: Final = 1.0
# From this share of TIMEOUT on, the longest run of the hour counts as near it.
_NEARLY: Final = 0.5
# Fewer may be the retries of one or two messages.
_SOME: Final = 20
_OFTEN: Final = 0.2
# Below this share of acknowledged messages to failed runs, nearly every run fails.
_RARELY: Final = 0.05
# In characters.
_LONGEST_ERROR: Final = 200

Check = Callable[[GroupFacts, Activity, Activity], Iterator[Finding]]


def pace_findings(group: GroupFacts) -> Iterator[Finding]:
    """Find what is wrong with a group's workers. Nothing is known of other programs' consumers."""
    if group.activity is not None:
        hour, lately = group.activity.last(len(group.activity.minutes)), _lately(group)
        for check in _CHECKS:
            yield from check(group, hour, lately)


def standstill(group: GroupFacts, _: Activity, lately: Activity) -> Iterator[Finding]:
    """Find a standstill: consumers are alive and messages wait, but no run ends."""
    served = not isinstance(group.handlers, Exception) and len(group.handlers)
    if not (served and group.alive and group.state.paused is None) or lately.runs or lately.settled:
        return
    if group.runs and group.runs[0].seconds < _STANDSTILL:
        return
    if (group.state.oldest_unread or 0) >= _STANDSTILL:
        ended = " ended" if group.runs else ""
        runs = f" {group.runs[0].consumer}: {group.runs[0]}." if group.runs else ""
        yield Finding(
            code=Code.STANDSTILL,
            subject=group.label,
            message=f"Consumers are there, but {'no run ends' if group.runs else 'run nothing'}, and messages wait.",
            evidence=f"{group.state.consumers} consumers, no run{ended} in the last {lately.seconds / 60:.0f} minutes; "
            f"the oldest unread message is {group.oldest_unread}.{runs}",
            fix=f"manage.py streams pending {group.label} shows what they hold: a handler may hang, or "
            "GROUP_CONCURRENCY or RATE be too low. Set TIMEOUT, so that what hangs is ended.",
        )


def behind(group: GroupFacts, _: Activity, lately: Activity) -> Iterator[Finding]:
    """Find a backlog, by the time to catch up if no more messages came; else by the age of the oldest unread one."""
    unread = group.state.unread
    if not (group.alive and lately.settled):
        return
    needs = (group.state.oldest_unread or 0) if unread is None else unread / lately.rate
    if needs > _FAR_BEHIND:
        waits = "The server can't tell how many (before Redis 7.0)" if unread is None else f"{unread:,} are unread"
        yield Finding(
            code=Code.BEHIND,
            subject=group.label,
            message=f"Messages pile up: workers are about {needs / 60:,.0f} minutes behind.",
            evidence=f"{waits}, the oldest is {group.oldest_unread}; {lately.rate:,.2f} a second were settled "
            f"in the last {lately.seconds / 60:.0f} minutes.",
            fix=f"Run more: manage.py runconsumers {group.label} --processes N, on further hosts too; or speed up the "
            "handlers, with batch=True for one.",
        )


def slow_handlers(group: GroupFacts, hour: Activity, _: Activity) -> Iterator[Finding]:
    """Find slow handlers: a slow one blocks its thread, and is ended at TIMEOUT."""
    mean, timeout = hour.mean_duration, group.config.timeout
    near = timeout is not None and hour.longest >= timeout * _NEARLY
    if mean is not None and (mean >= _SLOW or near):
        yield Finding(
            code=Code.SLOW_HANDLERS,
            subject=group.label,
            message=f"Handlers are slow: a message takes {mean:,.2f} s"
            + (f", and the longest run comes near TIMEOUT, {timeout:g} s." if near else "."),
            evidence=f"{hour.runs:,} runs in the last hour, the longest {hour.longest:,.1f} s.",
            fix="Give what a handler waits for a time-out; more --processes and --threads; raise TIMEOUT where long "
            "runs are right.",
        )


def all_fail(group: GroupFacts, _: Activity, lately: Activity) -> Iterator[Finding]:
    """Find that all runs fail, or nearly all: whatever comes is retried and dead-lettered."""
    if _all_fail(lately):
        yield Finding(
            code=Code.ALL_FAIL,
            subject=group.label,
            message="Nearly every run of its handlers fails.",
            evidence=f"{lately.failures:,} runs failed ({lately.dead_lettered:,} dead letters) and "
            f"{lately.acknowledged:,} messages were acknowledged in the last {lately.seconds / 60:.0f} minutes."
            + _with_error(group),
            fix=f"Pause it until the cause is fixed: manage.py streams pause {group.label}. Correct the handler, or "
            f"bring back what it depends on. Then manage.py streams resume {group.label}, and {_replay(group)}.",
        )


def failing(group: GroupFacts, hour: Activity, lately: Activity) -> Iterator[Finding]:
    """Find many failed runs: a dependency is away, or a handler is broken."""
    if _all_fail(lately):
        return
    if hour.retried >= _SOME and hour.retried >= _OFTEN * max(hour.runs, hour.retried):
        yield Finding(
            code=Code.FAILING,
            subject=group.label,
            message="Many runs of handlers fail, and are retried.",
            evidence=f"{hour.retried:,} of {hour.runs:,} runs in the last hour." + _with_error(group),
            fix=f"manage.py streams retries list --group {group.config.name} shows errors; pause the group while "
            f"what it depends on is away: manage.py streams pause {group.label}.",
        )


def dead_letters(group: GroupFacts, hour: Activity, lately: Activity) -> Iterator[Finding]:
    """Find many dead letters, until somebody has decided on all: some are normal, but many have one cause."""
    if _all_fail(lately) or not group.has_dead_letters:
        return
    if hour.dead_lettered >= _SOME and hour.dead_lettered >= _OFTEN * hour.settled:
        yield Finding(
            code=Code.DEAD_LETTERS_GROW,
            subject=group.label,
            message="Many messages become dead letters.",
            evidence=f"{hour.dead_lettered:,} of {hour.settled:,} that were settled in the last hour."
            + _with_error(group),
            fix=f"manage.py deadletters list --group {group.config.name} --newer-than 1h; correct the handler, then "
            f"{_replay(group)}.",
        )


def _all_fail(lately: Activity) -> bool:
    return lately.failures >= _SOME and lately.acknowledged < _RARELY * lately.failures


def _with_error(group: GroupFacts) -> str:
    """Return a sentence with the error of the group's newest dead letter or retry, or ""."""
    error = visible(group.last_error)
    cut = "…" if len(error) > _LONGEST_ERROR else ""
    return f" The newest error: {error[:_LONGEST_ERROR]}{cut}" if error else ""


def _replay(group: GroupFacts) -> str:
    return f"manage.py deadletters replay --stream {group.stream.name} --group {group.config.name}"


def _lately(group: GroupFacts) -> Activity:
    """Return the last minutes, from the first with activity: before it, there may have been no worker."""
    activity = group.activity
    assert activity is not None
    minutes = activity.minutes[-_LATELY:]
    begun = next((index for index, each in enumerate(minutes) if each.runs or each.settled), 0)
    return activity.last(len(minutes) - begun)


_CHECKS: Final[tuple[Check, ...]] = (standstill, all_fail, slow_handlers, behind, failing, dead_letters)
