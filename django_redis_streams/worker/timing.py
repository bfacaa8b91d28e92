"""How often a worker looks at what, and how long it waits, also between two tries.

`Timing` is one value, handed down from the options. It isn't for users: what depends on a project is in its settings. A
test that can't wait as long passes another value.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_TIMING", "Backoff", "Timing"]


class Backoff:
    """How long to wait before the next try: from `least` to `most` seconds, doubled each time, with jitter."""

    def __init__(self, *, least: float, most: float) -> None:
        self._least, self._most = least, most
        self.reset()

    def reset(self) -> None:
        """Note a success: the next failure waits the least again."""
        self._next = self._least
        self._until = 0.0

    def more(self) -> float:
        """Note a failure, and return how many seconds to wait now."""
        shortest, longest = max(self._least, self._next * 0.75), min(self._most, self._next * 1.25)
        wait = random.uniform(shortest, longest)  # noqa: S311  jitter, not a secret
        self._next = min(self._most, self._next * 2)
        self._until = time.monotonic() + wait
        return wait

    @property
    def left(self) -> float:
        """How many seconds of the wait are left."""
        return max(0.0, self._until - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether the wait is over."""
        return not self.left


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The intervals and waits of a worker, all in seconds but for `backoff_factor`."""

    # A consumer: how long a read waits for the first message where another connection may end it (CLIENT UNBLOCK); how
    # long the consumer waits at most for what nobody wakes it for; and how much longer than a read a reply may take
    # before the connection counts as lost.
    block: float = 15.0
    unwoken: float = 1.0
    reply_timeout: float = 5.0
    # For how long it waits for a cluster that is down, as it is for some seconds after the start of a node.
    cluster_down: float = 30.0
    # How long a batch should take to run. The count of the next read follows from that.
    batch: float = 0.1
    # How often it asks whether its paused group was resumed; how often a quarantine asks whether a limit leaves room.
    look_paused: float = 0.25
    look_limited: float = 0.05
    # For how long, within a batch, a database connection is trusted without a query that checks it: one query in that
    # time costs a slow handler nothing and a fast one little.
    trust_connection: float = 0.1
    # When it looks for pending messages that it hasn't seen: after a connect once more, so long after the server must
    # have given up on a blocked read of the connection before; and so often while it is idle, for any reason yet
    # unknown.
    look_again: float = 0.5
    look_idle: float = 60.0

    # The services: when a reply is so late, the server counts as gone. None of them sends a command that blocks.
    service_timeout: float = 5.0
    # The heartbeat: how often it looks for outcomes that wait for a slow handler to end; how long the server may be
    # quiet before it is asked whether it answers, while consumers have something in hand and while they don't; and how
    # long it has to do so. Then it counts as gone, also for a consumer whose read blocks.
    flush: float = 0.05
    quiet: float = 2.0
    quiet_idle: float = 6.0
    answer: float = 4.0
    # The listener: for how long it waits for a notice, before it asks again.
    listen: float = 10.0
    # The promoter: how late due messages may be; for how long it looks so often after it has moved something; how often
    # it asks for a lease that it doesn't get, and for the groups; how often it looks where nothing waits, and how often
    # it records there what the server's clock shows.
    promote: float = 0.05
    promote_awake: float = 1.0
    look_for_lease: float = 1.0
    look_at_rest: float = 15.0
    see_clock: float = 60.0
    # Statistics: how often the server is told what was done. A drain: how often it looks whether anything is left.
    count: float = 1.0
    look_drained: float = 0.05
    # Presence: how often a process says that it is there, and what it serves and runs where that has changed; and how
    # often it says all of it at least.
    serve: float = 5.0
    serve_anew: float = 60.0
    # The relay of the outbox: how often it looks for rows; how often it asks for the lease that another has; and how
    # often it looks whether a database has the table by now.
    relay: float = 1.0
    look_for_relay: float = 5.0
    look_for_table: float = 60.0
    # Maintenance: how often it looks for what may be claimed where something is stale or about to be; how often at
    # least, however many processes look; and the shortest time between two looks.
    look_stale: float = 0.5
    look_stale_at_least: float = 2.0
    between_looks: float = 0.05
    # Where nothing is: how far ahead it looks, so when the next look is; and how far at most, where many look. And how
    # soon it looks where it has heard of something.
    look_ahead: float = 10.0
    look_ahead_at_most: float = 30.0
    look_heard: float = 0.2
    # How often it looks at the server's clock, and for suspects of which it has heard nothing.
    look_at_clock: float = 30.0
    # How often it counts others that look, enters into the books what others did, trims, looks at lanes that nobody
    # reads, and removes the names of consumers that were silent for `retire_after`; and how often in the end while
    # nothing happens.
    count_others: float = 10.0
    watch: float = 5.0
    watch_rarely: float = 60.0
    trim: float = 1.0
    trim_rarely: float = 60.0
    look_at_unread_lanes: float = 60.0
    retire: float = 60.0
    retire_rarely: float = 240.0
    # A consumer of this app reads every few seconds, unless its group is paused: if it is removed then, its next read
    # brings it back. A consumer of another client may be silent for longer.
    retire_after: float = 3600.0

    # How often old rows of the inbox are deleted.
    clear_inbox: float = 60.0

    # A process: how often its main thread looks, and how often at which connections take long to open: there may be
    # hundreds. While it stops, blocked reads are ended again and again, as a consumer may just have begun one.
    tick: float = 0.2
    look_at_openings: float = 1.0
    tick_stopping: float = 0.05
    # At a stop: for how long a server that is away is tried; and after how long what still runs is named in the log.
    last_tries: float = 1.0
    name_running: float = 0.3
    # The supervisor: how often it looks; and how often while something is about to end or to start.
    supervise: float = 0.5
    supervise_closely: float = 0.05
    # If the supervisor itself stood still for longer than this, its processes get as long to show that they get on.
    awake: float = 2.0
    # After the last process has ended, rescuers have this long to hand back what those held; and as long as the second
    # time after a second signal.
    rescuers_grace: float = 10.0
    rescuers_haste: float = 2.0
    # When a rescuer has handed back all, receivers of signals have this long to hear of what has failed.
    telling: float = 60.0

    # What all waits between two tries are multiplied by.
    backoff_factor: float = 1.0

    def backoff(self, *, least: float, most: float) -> Backoff:
        """Return a new backoff from `least` to `most` seconds, scaled by `backoff_factor`."""
        return Backoff(least=least * self.backoff_factor, most=most * self.backoff_factor)


DEFAULT_TIMING: Final = Timing()
