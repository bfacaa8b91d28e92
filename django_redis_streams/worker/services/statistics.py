"""Tells the server what this process did, about once a second, for the figures of the minute."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence

from ...connections import OpenLink
from ...store.consume.membership import Membership
from ...store.observe.minutes import count_command
from ...store.scripts import Command, exchange, raise_first
from ..consumer.batch_runner import BatchRunner
from ..shared.counters import ConsumerCounters
from ..timing import Timing
from .service import Service

__all__ = ["Statistics", "news"]


def news(membership: Membership, counters: Iterable[ConsumerCounters]) -> Command | None:
    """Return the command that tells the server what a group's consumers did, or None if there is nothing new.

    What is in it counts as sent.
    """
    fresh: Counter[str] = Counter()
    longest = 0.0
    for each in counters:
        fresh.update(each.take_unsent())
        longest = max(longest, each.take_longest())
    if not fresh:
        return None
    return count_command(membership.keys, membership.group.name, fresh, round(longest * 1_000_000))


class Statistics(Service):
    """For the consumers of one connection. Figures that can't be sent are dropped: nothing is ever counted twice."""

    def __init__(self, alias: str, stop: threading.Event, consumers: Sequence[BatchRunner], timing: Timing) -> None:
        super().__init__(alias, stop, timing)
        self._groups: dict[str, list[BatchRunner]] = {}
        for each in consumers:
            self._groups.setdefault(each.membership.label, []).append(each)

    @property
    def interval(self) -> float:
        """In seconds."""
        return self._timing.count

    def step(self, link: OpenLink) -> None:
        """Send what is new, in one round trip, if anything was done."""
        if not any(each.counters.has_unsent for some in self._groups.values() for each in some):
            return
        link.confirm()
        every = [news(some[0].membership, [each.counters for each in some]) for some in self._groups.values()]
        commands = [command for command in every if command is not None]
        raise_first(exchange(link, commands))

    def end(self) -> None:
        """Tell the server what the consumers did last."""
        self.guarded_step()
