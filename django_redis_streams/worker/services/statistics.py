"""Tells the server what this process did, about once a second, for the figures of the minute."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ...connections import Link
from ...store.consume.membership import Membership
from ...store.observe.minutes import MICROSECONDS, RUNS, count_command
from ...store.scripts import Command, exchange
from ..consumer.batch_runner import BatchRunner
from ..shared.counters import COUNTED, ConsumerCounters
from ..timing import Timing
from .service import Service

__all__ = ["Statistics"]


class _Group:
    """One group's consumers in this process, and the figures of them that were sent."""

    def __init__(self, membership: Membership, counters: Sequence[ConsumerCounters]) -> None:
        self._membership = membership
        self._counters = counters
        self._sent = self._figures()

    def news(self) -> Command | None:
        """Return the command that tells the server what is new, or None if nothing was done.

        What is in it counts as sent.
        """
        now = self._figures()
        fresh = {name: count - self._sent[name] for name, count in now.items() if count != self._sent[name]}
        self._sent = now
        longest = round(max(each.take_longest() for each in self._counters) * 1_000_000)
        if not fresh:
            return None
        membership = self._membership
        return count_command(membership.keys, membership.group.name, fresh, longest)

    def _figures(self) -> dict[str, int]:
        read = [each.read() for each in self._counters]
        figures = {name: sum(each.counts[number] for each in read) for number, name in enumerate(COUNTED)}
        figures[RUNS] = sum(each.runs for each in read)
        figures[MICROSECONDS] = round(sum(each.seconds for each in read) * 1_000_000)
        return figures


class Statistics(Service):
    """For the consumers of one connection. Figures that can't be sent are dropped: nothing is ever counted twice."""

    def __init__(self, alias: str, stop: threading.Event, consumers: Sequence[BatchRunner], timing: Timing) -> None:
        super().__init__(alias, stop, timing)
        by_group: dict[str, list[BatchRunner]] = {}
        for each in consumers:
            by_group.setdefault(each.membership.label, []).append(each)
        self._groups = [_Group(some[0].membership, [each.counters for each in some]) for some in by_group.values()]

    @property
    def interval(self) -> float:
        """In seconds."""
        return self._timing.count

    def step(self, link: Link) -> None:
        """Send what is new, in one round trip, if anything was done."""
        commands = [command for command in (each.news() for each in self._groups) if command is not None]
        if not commands:
            return
        for reply in exchange(link, commands):
            if isinstance(reply, Exception):
                raise reply

    def end(self) -> None:
        """Tell the server what the consumers did last."""
        self.guarded_step()
