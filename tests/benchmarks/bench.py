"""One server, and two sides that use it in turns: the same stock before each run, and nothing else."""

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
# The database that keeps stocks, to copy them from.
_STORE = 1
# So many rounds that the median stays the same tomorrow, though the machine's speed changes from minute to minute.
ROUNDS = 5


class Run:
    """A running worker: how many messages it has handled, and whether it still runs."""

    def __init__(self, tally: Tally, processes: list[Process]) -> None:
        self.tally = tally
        self._processes = processes

    def check(self) -> None:
        """Raise `CannotMeasure` if a process has ended."""
        for each in self._processes:
            each.check()

    def speed(self, begin: int, end: int) -> tuple[int, float]:
        """Return how many messages were handled between these counts, and in how many seconds."""
        return self.tally.speed(begin, end, self.check)

    def memory(self) -> int:
        """Return how many KB all processes have in memory."""
        return sum(each.memory() for each in self._processes)

    def stop(self) -> None:
        """End all processes."""
        for each in self._processes:
            each.stop()


class Bench:
    """The tools that figures are measured with."""

    def __init__(self, server: Server) -> None:
        self.client = server.raw()
        self._server = server
        self._stocks: set[str] = set()

    def compare(self, unit: str, over: Side, under: Side, rounds: int = ROUNDS) -> Comparison:
        """Compare two sides, each a name and a function that measures once."""
        overs, unders, foreign = self.in_turns(over[1], under[1], rounds)
        return Comparison(unit, Series(over[0], overs), Series(under[0], unders), foreign)

    def in_turns(
        self, over: Callable[[], T], under: Callable[[], T], rounds: int = ROUNDS
    ) -> tuple[list[T], list[T], float]:
        """Return what each of two functions returned, a value a round, and the largest share that other processes used.

        They take turns in being first, so that slow changes of the machine affect both.
        """
        foreign = Foreign(self._pid)
        found: tuple[list[T], list[T]] = ([], [])
        for number in range(rounds):
            for side in (0, 1) if number % 2 else (1, 0):
                with foreign.watching():
                    found[side].append((over, under)[side]())
        return *found, foreign.most

    def alone(self, measure: Callable[[], T]) -> tuple[T, float]:
        """Return what a function returned, and the share of a core that other processes used meanwhile."""
        foreign = Foreign(self._pid)
        with foreign.watching():
            found = measure()
        return found, foreign.most

    def stock(self, count: int, *, ours: bool) -> None:
        """Leave nothing on the server but a stream of `count` messages, in the format of that side.

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
        """Run a program of a side, `bare` or `ours`, to its end; return what it prints."""
        return self.run("-m", f"tests.benchmarks.{side}", *arguments, cores=cores)

    def run(self, *arguments: str, cores: set[int] | None = None) -> str:
        """Run Python with these arguments to its end; return what it prints."""
        with Process(arguments, self._server.url, cores) as process:
            return process.printed()

    @contextmanager
    def working(self, worker: Worker, *, pinned: bool = True) -> Iterator[Run]:
        """Run a worker on the stock, and stop it at the end. Pinned: the server on one core, the worker on another.

        Raises `CannotMeasure` if our side hasn't acknowledged each message that it handled: it keeps all its promises.
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

    @contextmanager
    def idling(self, worker: Worker) -> Iterator[Process]:
        """Run a worker of one process on an empty server, not pinned, and stop it at the end."""
        self.client.flushdb()
        self.pin(False)
        (arguments,) = worker.commands
        with Process(arguments, self._server.url, None) as process:
            yield process
            process.stop()

    def pin(self, pinned: bool) -> None:
        """Bind the server and this process, which measures and publishes, to one core."""
        for pid in (self._pid, os.getpid()):
            pin(pid, server_core() if pinned else None)

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._server.url

    @property
    def _pid(self) -> int:
        assert self._server.process is not None
        return self._server.process.pid

    def make_group(self, group: str) -> None:
        """Make a group that begins with the first entry, if it isn't there."""
        try:
            self.client.xgroup_create(_STREAM, group, "0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _check_books(self, group: str, handled: int) -> None:
        totals = self.client.hgetall(f"{{{_STREAM}}}:totals:{group}")
        if totals != {"acknowledged": str(handled)}:
            raise CannotMeasure(f"{handled:,} messages were handled, but the group's totals are {totals}")
