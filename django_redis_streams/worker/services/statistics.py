"""Tells the server what this process did, about once a second, for the figures of the minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from ...connections import Link
from ...store.consume.membership import Membership
from ...store.observe.minutes import MICROSECONDS, RUNS, count_command
from ...store.scripts import Command, exchange
from ..consumer.consumer import Consumer
from ..shared.counters import COUNTED, Tally
from .service import Service

__all__ = ["Statistics"]

_INTERVAL = 1.0


class _Group:
    """One group's consumers in this process, and what was told of them."""

    def __init__(self, membership: Membership, tallies: Sequence[Tally]) -> None:
        self._membership = membership
        self._tallies = tallies
        self._told = self._figures()

    def news(self) -> Command | None:
        """What is to be told now, which counts as told. None where nothing was done."""
        now = self._figures()
        fresh = {name: count - self._told[name] for name, count in now.items() if count != self._told[name]}
        self._told = now
        longest = round(max(each.take_longest() for each in self._tallies) * 1_000_000)
        if not fresh:
            return None
        place = self._membership
        return count_command(place.keys, place.group.name, int(time.time() // 60), fresh, longest)

    def _figures(self) -> dict[str, int]:
        read = [each.read() for each in self._tallies]
        figures = {name: sum(each.counts[number] for each in read) for number, name in enumerate(COUNTED)}
        figures[RUNS] = sum(each.runs for each in read)
        figures[MICROSECONDS] = round(sum(each.seconds for each in read) * 1_000_000)
        return figures


class Statistics(Service):
    """For the consumers of one connection. What can't be told is forgotten: nothing is ever counted twice."""

    def __init__(self, alias: str, stop: threading.Event, consumers: Sequence[Consumer]) -> None:
        super().__init__(alias, stop)
        places: dict[str, list[Consumer]] = {}
        for each in consumers:
            places.setdefault(each.membership.place, []).append(each)
        self._groups = [_Group(some[0].membership, [each.tally for each in some]) for some in places.values()]

    @property
    def interval(self) -> float:
        """In seconds."""
        return _INTERVAL

    def step(self, link: Link) -> None:
        """One round trip, where anything was done."""
        commands = [command for command in (each.news() for each in self._groups) if command is not None]
        if not commands:
            return
        for reply in exchange(link, commands):
            if isinstance(reply, Exception):
                raise reply

    def end(self) -> None:
        """What the consumers did last."""
        self.guarded_step()
