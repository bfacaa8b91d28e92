"""Tells the server every few seconds that this process is there, what it serves and what it runs."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from math import isinf

from ...conf import StreamConfig
from ...connections import Link
from ...store.consume.presence import ProcessRecord, RunRecord, absent_command, present_command
from ...store.scripts import Command, exchange
from ..consumer.batch_runner import BatchRunner
from ..system.memory import resident
from ..timing import Timing
from .service import Service

__all__ = ["Presence"]


class Presence(Service):
    """For the consumers of one connection: a script for each stream, all in one round trip.

    In a quarantine its consumers serve no group: they look after suspects only.
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
        self._streams: dict[str, list[BatchRunner]] = {}
        for each in consumers:
            self._streams.setdefault(each.membership.stream.name, []).append(each)
        self._began = time.monotonic()
        self._leaves = False

    @property
    def interval(self) -> float:
        """In seconds."""
        return self._timing.serve

    def step(self, link: Link) -> None:
        """Tell each stream that this process is there; at its end, that it isn't."""
        for reply in exchange(link, list(self._commands())):
            if isinstance(reply, Exception):
                raise reply

    def end(self) -> None:
        """Tell the server that this process leaves, so that nobody counts on it from now on."""
        self._leaves = True
        self.guarded_step()

    def _commands(self) -> Iterator[Command]:
        memory = resident()
        for consumers in self._streams.values():
            stream = consumers[0].membership.stream
            if self._leaves:
                yield absent_command(stream, self._process, _by_group(consumers))
            else:
                yield self._present(stream, [each for each in consumers if not each.ended], memory)

    def _present(self, stream: StreamConfig, consumers: Sequence[BatchRunner], memory: int) -> Command:
        served = {} if self._quarantine else _by_group(consumers)
        record = ProcessRecord(
            host=socket.gethostname(),
            pid=os.getpid(),
            ms=round((time.monotonic() - self._began) * 1000),
            memory=memory,
            quarantine=self._quarantine,
            lanes=stream.lane_names,
            groups={group: len(names) for group, names in served.items()},
            runs=[run for each in consumers for run in _runs(each)],
        )
        return present_command(stream, self._process, round(time.time() * 1000), record, served)


def _by_group(consumers: Sequence[BatchRunner]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for each in consumers:
        found.setdefault(each.membership.group.name, []).append(each.membership.consumer)
    return found


def _runs(consumer: BatchRunner) -> Iterator[RunRecord]:
    group, now = consumer.membership.group, time.monotonic()
    for call in consumer.executor.running():
        timeout = call.handler.deadline(group, 0.0)
        yield RunRecord(
            group=group.name,
            consumer=consumer.membership.consumer,
            message=call.message_id,
            handler=call.handler.name,
            ms=round((now - call.began) * 1000),
            timeout=None if isinf(timeout) else timeout,
            messages=call.messages,
        )
