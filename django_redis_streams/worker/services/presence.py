"""Tells the server every few seconds that this process is there, and what it serves and runs where that has changed."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from math import isinf
from typing import Final, NamedTuple

from ...conf import StreamConfig
from ...connections import Link
from ...store.consume.asking import ask_each
from ...store.consume.presence import (
    ProcessRecord,
    RunRecord,
    absent_command,
    living_command,
    present_command,
)
from ...store.scripts import Command, exchange, raise_first
from ..consumer.batch_runner import BatchRunner
from ..system.memory import resident
from ..timing import Timing
from .service import Service

__all__ = ["Presence"]

# What isn't told at once: a change of the memory by less than this share, and of the clock by fewer seconds.
_LITTLE_MEMORY: Final = 0.1
_LITTLE_TIME: Final = 1.0


class _Moment(NamedTuple):
    """What holds for all streams: the times of this host's two clocks, in seconds, and the bytes in memory."""

    clock: float
    monotonic: float
    memory: int


class _Saying(NamedTuple):
    """What is said to one stream, and when.

    The consumers that serve its groups, and those that have ended, are by group.
    """

    at: _Moment
    consumers: Mapping[str, Sequence[str]]
    ended: Mapping[str, Sequence[str]]
    runs: Sequence[RunRecord]


class Presence(Service):
    """For the consumers of one connection. It has the server keep what it said to each stream, asked for all together.

    A stream is told all of it anew where it has changed, where the server has lost it, and each minute. In a quarantine
    its consumers serve no group: they look after suspects only.
    """

    def __init__(
        self,
        alias: str,
        stop: threading.Event,
        consumers: Sequence[BatchRunner],
        timing: Timing,
        *,
        process: str,
        quarantine: bool = False,
    ) -> None:
        super().__init__(alias, stop, timing)
        self._process = process
        self._quarantine = quarantine
        self._consumers: dict[str, list[BatchRunner]] = {}
        for each in consumers:
            self._consumers.setdefault(each.membership.stream.name, []).append(each)
        self._living = {name: living_command(self._stream(name), process) for name in self._consumers}
        self._said: dict[str, _Saying] = {}
        self._host = socket.gethostname()
        self._began = time.monotonic()
        self._leaves = False

    @property
    def interval(self) -> float:
        """In seconds."""
        return self._timing.serve

    def step(self, link: Link) -> None:
        """Tell each stream that this process is there; at its end, that it isn't."""
        if self._leaves:
            raise_first(exchange(link, [self._absent(name) for name in self._consumers]))
            return
        at = _Moment(time.time(), time.monotonic(), resident())
        sayings = {name: self._saying(name, at) for name in self._consumers}
        replies = self._say(link, sayings, [name for name in sayings if self._is_news(name, sayings[name])])
        if lost := [name for name, reply in replies.items() if reply == 0]:
            replies |= self._say(link, {name: sayings[name] for name in lost}, lost)
        raise_first(replies.values())

    def connected(self) -> None:
        """Have each stream told all of it: the server may be another, which has lost some."""
        self._said.clear()

    def end(self) -> None:
        """Tell the server that this process leaves, so that nobody counts on it from now on."""
        self._leaves = True
        self.guarded_step()

    def _saying(self, name: str, at: _Moment) -> _Saying:
        there = [each for each in self._consumers[name] if not each.ended]
        ended = [each for each in self._consumers[name] if each.ended]
        runs = [run for each in there for run in _runs(each, at.monotonic)]
        return _Saying(at, self._served(there), self._served(ended), runs)

    def _is_news(self, name: str, saying: _Saying) -> bool:
        said = self._said.get(name)
        if said is None or saying.at.monotonic - said.at.monotonic >= self._timing.serve_anew:
            return True
        return _differ(said, saying)

    def _say(self, link: Link, sayings: Mapping[str, _Saying], anew: Sequence[str]) -> dict[str, object]:
        """Tell these streams that this process is there, some of them all of it; return the replies."""
        commands = {name: self._living[name] for name in sayings}
        commands |= {name: self._present(name, sayings[name]) for name in anew}
        replies = dict(zip(commands, ask_each(link, list(commands.values())), strict=True))
        self._said |= {name: sayings[name] for name in anew if not isinstance(replies[name], Exception)}
        return replies

    def _present(self, name: str, saying: _Saying) -> Command:
        at, consumers, ended, runs = saying
        record = ProcessRecord(
            host=self._host,
            pid=os.getpid(),
            ms=round((at.monotonic - self._began) * 1000),
            memory=at.memory,
            quarantine=self._quarantine,
            lanes=self._stream(name).lane_names,
            groups={group: len(names) for group, names in consumers.items()},
            runs=runs,
        )
        clock = round(at.clock * 1000)
        return present_command(self._stream(name), self._process, clock, record, consumers, ended=ended)

    def _absent(self, name: str) -> Command:
        return absent_command(self._stream(name), self._process, _by_group(self._consumers[name]))

    def _stream(self, name: str) -> StreamConfig:
        return self._consumers[name][0].membership.stream

    def _served(self, consumers: Sequence[BatchRunner]) -> Mapping[str, Sequence[str]]:
        return {} if self._quarantine else _by_group(consumers)


def _differ(said: _Saying, saying: _Saying) -> bool:
    """Return whether anything but the passing of time has changed by more than a little."""
    stepped = (saying.at.clock - said.at.clock) - (saying.at.monotonic - said.at.monotonic)
    grew = saying.at.memory - said.at.memory
    return (
        abs(stepped) > _LITTLE_TIME
        or abs(grew) > _LITTLE_MEMORY * said.at.memory
        or saying.consumers != said.consumers
        or _calls(saying.runs) != _calls(said.runs)
    )


def _calls(runs: Sequence[RunRecord]) -> Sequence[RunRecord]:
    return [each._replace(ms=0) for each in runs]


def _by_group(consumers: Sequence[BatchRunner]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for each in consumers:
        found.setdefault(each.membership.group.name, []).append(each.membership.consumer)
    return found


def _runs(consumer: BatchRunner, now: float) -> Iterator[RunRecord]:
    group = consumer.membership.group
    for call in consumer.executor.running():
        timeout = call.handler.deadline(group, 0.0)
        yield RunRecord(
            group=group.name,
            consumer=consumer.membership.consumer,
            message=call.message_id,
            handler=call.handler.name,
            ms=max(0, round((now - call.began) * 1000)),
            timeout=None if isinf(timeout) else timeout,
            messages=call.messages,
        )
