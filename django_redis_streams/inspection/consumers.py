"""The consumers of a group as the server knows them, and the messages that are pending for longest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from .. import conf, connections
from ..connections import Link
from ..store.consume.consumers import consumers_on
from ..store.consume.membership import RETURNED
from ..store.consume.presence import serving
from ..store.observe.sources import BEGIN, Pending
from ..store.replies import group_is_gone
from . import records
from .records import PendingMessage

__all__ = ["ConsumerState", "PendingScan", "consumers", "longest_pending"]

_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerState:
    """One consumer of a group, over all streams that the group reads.

    `pending` is how many entries it holds, `idle` how many seconds ago the server heard of it. One `of_worker` is
    `alive` as long as its process says so, another client's within CLAIM_IDLE. With `returned` it is no consumer:
    messages that were handed back are pending under this name until claimed.
    """

    name: str
    pending: int
    idle: float
    alive: bool
    returned: bool
    of_worker: bool


@dataclass(frozen=True, slots=True)
class PendingScan:
    """Pending messages without their bodies; `searched` of all `total` were looked at for them."""

    messages: Sequence[PendingMessage]
    searched: int
    total: int


def consumers(stream: str, group: str) -> list[ConsumerState]:
    """Return the consumers of a declared group, those with most pending entries first.

    Raises `UnknownStream`, and what a server answers.
    """
    config, declared = conf.stream(stream), conf.group(stream, group)
    link = connections.get(config.connection)
    workers = serving(link, config.keys, group)
    # The server may know nothing of a worker's consumer that was given nothing yet.
    found = {name: (0, ms / 1000) for name, ms in workers.items() if ms is not None}
    for source in Pending.of(config, group):
        for row in consumers_on(link, source.key, group):
            pending, idle = found.get(row["name"], (0, float("inf")))
            found[row["name"]] = pending + row["pending"], min(idle, row["idle"] / 1000)
    states = [
        ConsumerState(
            name=name,
            pending=pending,
            idle=idle,
            alive=workers[name] is not None if name in workers else name != RETURNED and idle <= declared.claim_idle,
            returned=name == RETURNED,
            of_worker=name in workers,
        )
        for name, (pending, idle) in found.items()
    ]
    return sorted(states, key=lambda each: (-each.pending, each.name))


def longest_pending(
    stream: str, group: str, *, idle: float = 0.0, deliveries: int = 0, most: int = 10_000
) -> PendingScan:
    """Return pending messages of a declared group, the longest idle first; of the oldest `most` entries.

    Only those that are idle for at least `idle` seconds and were delivered so often. Raises what `consumers` raises.
    """
    config = conf.stream(stream)
    conf.group(stream, group)
    link = connections.get(config.connection)
    found: list[PendingMessage] = []
    searched = total = 0
    for source in Pending.of(config, group):
        (reply,) = link.call_many([source.size_command()])
        if isinstance(reply, Exception):
            if group_is_gone(reply):
                continue
            raise reply
        total += source.size(reply)
        for each in islice(_pending(link, source), max(0, most - searched)):
            searched += 1
            if each.idle >= idle and each.deliveries >= deliveries:
                found.append(each)
    return PendingScan(sorted(found, key=lambda each: -each.idle), searched, total)


def _pending(link: Link, source: Pending) -> Iterator[PendingMessage]:
    command = source.read_command(BEGIN, _AT_ONCE)
    while True:
        part = source.part(link.call(*command), _AT_ONCE)
        yield from (records.pending(source, each) for each in part.found)
        if not part.left:
            return
        command = source.read_command(part.found[-1].position, _AT_ONCE, behind=True)
