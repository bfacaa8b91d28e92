"""One server, and the two sides on it in turns: the same stock before each run, nothing left of the run before."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import redis

from tests.support.servers import Server

from .figures import CannotMeasure, Comparison, Series
from .machine import Foreign, pin, server_core, worker_core
from .processes import Process, Worker
from .tally import Tally

__all__ = ["Bench", "Run"]

T = TypeVar("T")
Side = tuple[str, Callable[[], float]]

_STREAM = "orders"
# The database where stocks are kept, to be copied from.
_STORE = 1
# The median of so many is to be the same tomorrow, on a machine that is faster in one minute than in the next.
ROUNDS = 5


class Run:
    """A worker at work: what it has handled, and whether it still runs."""

    def __init__(self, tally: Tally, processes: list[Process]) -> None:
        self.tally = tally
        self._processes = processes

    def check(self) -> None:
        """Raises `CannotMeasure` where a process has ended."""
        for each in self._processes:
            each.check()

    def speed(self, begin: int, end: int) -> tuple[int, float]:
        """How many messages were handled, in how many seconds, between these counts."""
        return self.tally.speed(begin, end, self.check)

    def stop(self) -> None:
        """End all of them."""
        for each in self._processes:
            each.stop()


class Bench:
    """What figures are measured with."""

    def __init__(self, server: Server) -> None:
        self.client = server.raw()
        self._server = server
        self._stocks: set[str] = set()

    def compare(self, unit: str, over: Side, under: Side, rounds: int = ROUNDS) -> Comparison:
        """Two sides, each a name and a function that measures once."""
        overs, unders, foreign = self.in_turns(over[1], under[1], rounds)
        return Comparison(unit, Series(over[0], overs), Series(under[0], unders), foreign)

    def in_turns(
        self, over: Callable[[], T], under: Callable[[], T], rounds: int = ROUNDS
    ) -> tuple[list[T], list[T], float]:
        """What each of two functions returned, a value a round, and what other processes used at most meanwhile.

        They take turns in being first: what changes slowly on the machine befalls both.
        """
        foreign = Foreign(self._pid)
        found: tuple[list[T], list[T]] = ([], [])
        for number in range(rounds):
            for side in (0, 1) if number % 2 else (1, 0):
                with foreign.watching():
                    found[side].append((over, under)[side]())
        return *found, foreign.most

    def stock(self, count: int, *, ours: bool) -> None:
        """Nothing on the server but a stream with `count` messages, published as that side publishes.

        It is published once, and copied from then on.
        """
        self.client.flushdb()
        name = f"{'ours' if ours else 'bare'}:{count}"
        if name not in self._stocks:
            self.publisher("ours" if ours else "bare", "fill", str(count), cores=None)
            self.client.copy(_STREAM, name, destination_db=_STORE)
            self.client.delete(_STREAM)
            self._stocks.add(name)
        with redis.Redis(unix_socket_path=str(self._server.socket), db=_STORE) as store:
            store.copy(name, _STREAM, destination_db=0)

    def publisher(self, side: str, *arguments: str, cores: set[int] | None) -> str:
        """What a program of a side prints: `bare` or `ours`, run to its end."""
        with Process(["-m", f"tests.benchmarks.{side}", *arguments], self._server.url, cores) as process:
            return process.printed()

    @contextmanager
    def working(self, worker: Worker, *, pinned: bool = True) -> Iterator[Run]:
        """A worker on the stock, stopped at the end. Pinned: the server on one core, the worker on another.

        Raises `CannotMeasure` where our side hasn't acknowledged each message that it handled: promises are on.
        """
        self.pin(pinned)
        self.make_group(worker.group)
        with Tally() as tally, ExitStack() as stack:
            cores = worker_core() if pinned else None
            processes = [
                stack.enter_context(Process(each, self._server.url, cores, tally.descriptor))
                for each in worker.commands
            ]
            yield (run := Run(tally, processes))
            run.stop()
            if worker.ours:
                self._check_books(worker.group, tally.count)

    def pin(self, pinned: bool) -> None:
        """Bind the server and this process, which looks on and publishes, to one core."""
        for pid in (self._pid, os.getpid()):
            pin(pid, server_core() if pinned else None)

    @property
    def _pid(self) -> int:
        assert self._server.process is not None
        return self._server.process.pid

    def make_group(self, group: str) -> None:
        """A group that begins with the first entry, where there is none of that name."""
        try:
            self.client.xgroup_create(_STREAM, group, "0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _check_books(self, group: str, handled: int) -> None:
        totals = self.client.hgetall(f"{{{_STREAM}}}:totals:{group}")
        if totals != {"acknowledged": str(handled)}:
            raise CannotMeasure(f"{handled:,} messages were handled, but the group's totals are {totals}")
