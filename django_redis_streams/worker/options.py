"""What a worker is to do: which groups, with how many processes and threads, and until when."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..conf import GroupConfig, StreamConfig
from ..store.consume.membership import Membership
from .timing import DEFAULT_TIMING, Timing

__all__ = ["Options", "memberships", "new_random_part", "process_name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One `runconsumers`.

    Each process has `threads` consumers for each of `groups`. With `drain` it ends when the groups have
    nothing left to do now; with `max_messages`, a process begins at most so many, and ends when they are settled.
    `shutdown_timeout` is how many seconds handlers have to finish at a stop. `name` goes before the consumers' names.
    A process that has more than `max_memory` bytes in memory is replaced. With `reload` it ends, to begin anew, when
    code was changed. Clients that connect to `listening` are told what it does.
    """

    groups: tuple[tuple[StreamConfig, GroupConfig], ...]
    processes: int = 1
    threads: int = 1
    drain: bool = False
    max_messages: int | None = None
    shutdown_timeout: float = 30.0
    name: str = ""
    max_memory: int | None = None
    reload: bool = False
    listening: socket.socket | None = None
    timing: Timing = DEFAULT_TIMING

    @property
    def ends_by_itself(self) -> bool:
        """Whether a process that ended well has done what it was to do."""
        return self.drain or self.max_messages is not None

    @property
    def for_quarantine(self) -> Options:
        """What its quarantine is to do: the same groups, one consumer each, until there is no suspect."""
        return replace(self, processes=1, threads=1, drain=False, max_messages=None, max_memory=None)

    @property
    def targets(self) -> Sequence[tuple[StreamConfig, GroupConfig]]:
        """The stream and group of each consumer, and so of each thread that runs handlers, of one process."""
        return [each for each in self.groups for _ in range(self.threads)]


def new_random_part() -> str:
    """Return a random part that makes the consumer names of one process unique for ever: process ids come again."""
    return secrets.token_hex(4)


def process_name(options: Options, pid: int, random_part: str) -> str:
    """Return the name of one process, unique for ever; its consumers' names are this one and a number."""
    prefix = f"{options.name}-" if options.name else ""
    return f"{prefix}{socket.gethostname()}-{pid}-{random_part}"


def memberships(options: Options, pid: int, random_part: str) -> list[Membership]:
    """Return the consumers of one process.

    The supervisor asks for them too, to rescue what they held when the process died.
    """
    name = process_name(options, pid, random_part)
    return [Membership(stream, group, f"{name}-{number}") for number, (stream, group) in enumerate(options.targets)]
