"""The nemeses: each breaks one thing, and mends it.

A nemesis is a subclass of `Nemesis` with `do` and `undo`. Its name is registered, and `promises.py` says what holds
under it. It draws from `self.random` alone, so a seed repeats what it chose.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from redis.exceptions import ResponseError

from tests.support.waiting import wait_until

from . import proxy
from .evidence import Fault
from .stage import Stage
from .streams import CLAIM_IDLE, GROUPS

NEMESES: "dict[str, type[Nemesis]]" = {}

Span = tuple[float, float]


class Nemesis:
    """One fault, again and again: it lasts for `hold` seconds, and `pause` seconds pass between two.

    `struck` are the processes that the last fault concerned. With `through_proxy` all connections to the server go
    through the stage's proxy. With `by_sentinels` there is a master and a replica, and both streams have
    `"MIN_REPLICAS": 1`.
    """

    name: ClassVar[str]
    through_proxy: ClassVar[bool] = False
    by_sentinels: ClassVar[bool] = False
    hold: Span = (0.1, 0.6)
    pause: Span = (0.2, 0.6)

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):
            NEMESES[cls.name] = cls

    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self.stage = stage
        self.random = chance
        self.struck: tuple[int, ...] = ()

    def do(self) -> None:
        """Break something."""

    def undo(self) -> None:
        """Mend it."""

    def strike(self) -> Fault:
        """Break something, wait, and mend it; return what was done."""
        self.struck = ()
        began = time.time()
        try:
            self.do()
            time.sleep(self.random.uniform(*self.hold))
        finally:
            self.undo()
        return Fault(self.name, self.struck, began, time.time())


class Calm(Nemesis):
    """Nothing at all happens: what the others are compared with."""

    name = "calm"


class ProcessKilled(Nemesis):
    """SIGKILL of a worker's process. Its supervisor starts another."""

    name = "process-killed"

    def do(self) -> None:
        self.struck = tuple(_one_process(self))
        _send(self.struck, signal.SIGKILL)


class ProcessStopped(Nemesis):
    """SIGSTOP of a worker's process for longer than CLAIM_IDLE; then it is woken. Its supervisor has it keep all."""

    name = "process-stopped"
    hold = (1.2 * CLAIM_IDLE, 1.6 * CLAIM_IDLE)

    def do(self) -> None:
        self.struck = tuple(_one_process(self))
        _send(self.struck, signal.SIGSTOP)

    def undo(self) -> None:
        _send(self.struck, signal.SIGCONT)


class WorkerStopped(ProcessStopped):
    """SIGSTOP of a supervisor with all its processes, as if their host were suspended; then they are woken."""

    name = "worker-stopped"

    def do(self) -> None:
        worker = self.random.choice(self.stage.workers)
        self.struck = (worker.pid, *self.stage.children(worker))
        _send(self.struck, signal.SIGSTOP)


class SupervisorKilled(Nemesis):
    """SIGKILL of a supervisor. Its processes end by themselves, and another worker is started."""

    name = "supervisor-killed"
    pause = (0.5, 1.5)
    # Seconds that they have for that.
    patience = 10.0

    def do(self) -> None:
        worker = self.random.choice(self.stage.workers)
        self.orphans = self.stage.children(worker)
        worker.kill()
        worker.wait()
        self.stage.workers.remove(worker)
        self.stage.start_worker()

    def undo(self) -> None:
        until = time.monotonic() + self.patience
        while going := [pid for pid in self.orphans if _runs(pid)]:
            if time.monotonic() > until:
                _send(going, signal.SIGKILL)
                raise AssertionError(f"{going} go on {self.patience:g} s after their supervisor was killed")
            time.sleep(0.02)


class SupervisorStopped(Nemesis):
    """SIGSTOP of a supervisor, which is then woken."""

    name = "supervisor-stopped"
    hold = (0.5, 2.5)

    def do(self) -> None:
        self.stopped = [self.random.choice(self.stage.workers).pid]
        _send(self.stopped, signal.SIGSTOP)

    def undo(self) -> None:
        _send(self.stopped, signal.SIGCONT)


class PublisherKilled(Nemesis):
    """SIGKILL of a publisher; another is started."""

    name = "publisher-killed"

    def do(self) -> None:
        publisher = self.random.choice(self.stage.publishers)
        publisher.kill()
        publisher.wait()
        self.stage.publishers.remove(publisher)
        self.stage.start_publisher()


class PublisherStopped(Nemesis):
    """SIGSTOP of a publisher, which is then woken."""

    name = "publisher-stopped"
    hold = (0.2, 2.0)

    def do(self) -> None:
        self.stopped = [self.random.choice(self.stage.publishers).pid]
        _send(self.stopped, signal.SIGSTOP)

    def undo(self) -> None:
        _send(self.stopped, signal.SIGCONT)


class ServerKilled(Nemesis):
    """SIGKILL of the server, which starts again with its append-only file."""

    name = "server-killed"

    def do(self) -> None:
        self.stage.server.kill9()

    def undo(self) -> None:
        self.stage.server.start()


class ServerRestarted(ServerKilled):
    """A clean stop of the server, which starts again with its append-only file."""

    name = "server-restarted"

    def do(self) -> None:
        self.stage.server.end()


class ServerStopped(Nemesis):
    """SIGSTOP of the server: connections stay, and nothing is answered until it is woken."""

    name = "server-stopped"
    # Below CLAIM_IDLE less the third of it that passes between two heartbeats: nothing seems abandoned.
    hold = (0.1 * CLAIM_IDLE, 0.6 * CLAIM_IDLE)

    def do(self) -> None:
        self.stage.server.pause()

    def undo(self) -> None:
        self.stage.server.cont()


class MemoryFull(Nemesis):
    """The server's memory is full, by a low `maxmemory` without eviction; then it is raised."""

    name = "memory-full"
    hold = (0.3, 1.2)

    def do(self) -> None:
        self.stage.server.raw().config_set("maxmemory", "1mb")

    def undo(self) -> None:
        self.stage.server.raw().config_set("maxmemory", "0")


class PostgresqlRestarted(Nemesis):
    """The database is stopped, which ends all its connections, and started again."""

    name = "postgresql-restarted"

    def do(self) -> None:
        self.stage.postgresql.end()

    def undo(self) -> None:
        self.stage.postgresql.start()


class Proxied(Nemesis):
    """What the proxy does to replies, for a while."""

    through_proxy = True
    hold = (0.5, 1.5)

    def fault(self) -> proxy.Fault:
        """Return what is done to each piece of a reply."""
        raise NotImplementedError

    def do(self) -> None:
        self.stage.proxy.fault = self.fault()

    def undo(self) -> None:
        self.stage.proxy.fault = None


class RepliesEaten(Proxied):
    """The server carries out a command, and its reply is lost with the connection: one of fifty."""

    name = "replies-eaten"

    def fault(self) -> proxy.Fault:
        return proxy.eats(self.random)


class RepliesCut(Proxied):
    """A connection ends in the middle of a reply: one of fifty."""

    name = "replies-cut"

    def fault(self) -> proxy.Fault:
        return proxy.cuts(self.random)


class RepliesDelayed(Proxied):
    """Each reply comes up to a tenth of a second late."""

    name = "replies-delayed"

    def fault(self) -> proxy.Fault:
        return proxy.delays(self.random)


class LineNarrow(Proxied):
    """Each connection lets 2 MB a second through; some messages have 50 kB."""

    name = "line-narrow"

    def fault(self) -> proxy.Fault:
        return proxy.narrows


class ScriptsFlushed(Nemesis):
    """SCRIPT FLUSH: the server knows no script any more."""

    name = "scripts-flushed"
    hold = (0.0, 0.1)
    pause = (0.0, 0.2)

    def do(self) -> None:
        self.stage.server.raw().script_flush()


class ClientsKilled(Nemesis):
    """CLIENT KILL of all connections but the one that kills."""

    name = "clients-killed"
    hold = (0.0, 0.1)
    pause = (0.1, 0.5)

    def do(self) -> None:
        self.stage.server.raw().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


class GroupDestroyed(Nemesis):
    """XGROUP DESTROY of a group on its stream, or on the stream of its retries."""

    name = "group-destroyed"
    hold = (0.0, 0.1)
    pause = (0.6, 1.5)

    def do(self) -> None:
        stream = self.random.choice(sorted(GROUPS))
        group = self.random.choice(GROUPS[stream])
        key = self.random.choice((stream, f"{{{stream}}}:redelivery:{group}"))
        with suppress(ResponseError):  # nothing was redelivered yet
            self.stage.server.raw().xgroup_destroy(key, group)


class DeadLettersTaken(Nemesis):
    """The keys of the dead letters have another type, so that the server refuses to write any; then they are back."""

    name = "dead-letters-taken"
    hold = (0.2, 0.5 * CLAIM_IDLE)

    def do(self) -> None:
        raw = self.stage.server.raw()
        for key in self._keys():
            raw.eval(
                "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end "
                "return redis.call('SET', KEYS[1], 'taken')",
                2,
                key,
                f"{key}:aside",
            )

    def undo(self) -> None:
        raw = self.stage.server.raw()
        for key in self._keys():
            raw.eval(
                "redis.call('DEL', KEYS[1]) if redis.call('EXISTS', KEYS[2]) == 1 then "
                "redis.call('RENAME', KEYS[2], KEYS[1]) end",
                2,
                key,
                f"{key}:aside",
            )

    def _keys(self) -> list[str]:
        return [f"{{{stream}}}:dlq" for stream in GROUPS]


class MasterKilled(Nemesis):
    """SIGKILL of the master that sentinels name. They elect its replica; then it comes back, as a replica of that."""

    name = "master-killed"
    by_sentinels = True
    # Seconds that the new master has before the old one is back.
    hold = (0.0, 1.0)

    def do(self) -> None:
        self.old = self.stage.sentinels.master
        self.end()
        self.stage.sentinels.await_other(self.old)

    def undo(self) -> None:
        self.bring_back()
        wait_until(lambda: self.old.in_step, "the old master as a replica in step", deadline=30)

    def end(self) -> None:
        """Have the master serve nobody."""
        self.old.kill9()

    def bring_back(self) -> None:
        """Let it serve again."""
        self.old.start()


class MasterStopped(MasterKilled):
    """SIGSTOP of the master, which is woken when another was elected: until sentinels tell it, it takes writes."""

    name = "master-stopped"

    def end(self) -> None:
        self.old.pause()

    def bring_back(self) -> None:
        self.old.cont()


class Mixed(Nemesis):
    """Any of the others on one server, one after another."""

    name = "mixed"
    through_proxy = True

    def strike(self) -> Fault:
        others = sorted(name for name, each in NEMESES.items() if not each.by_sentinels and each not in {Mixed, Calm})
        return NEMESES[self.random.choice(others)](self.stage, self.random).strike()


def strikes(nemesis: Nemesis, seconds: float) -> list[Fault]:
    """Have a nemesis strike for so many seconds; return what it did. It has mended all then."""
    faults, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(nemesis.random.uniform(*nemesis.pause))
        faults.append(nemesis.strike())
    return faults


def _one_process(nemesis: Nemesis) -> list[int]:
    """Choose one of the workers' processes; none while none runs."""
    workers: list[subprocess.Popen[str]] = nemesis.stage.workers
    found = sorted(pid for each in workers for pid in nemesis.stage.children(each))
    return [nemesis.random.choice(found)] if found else []


def _runs(pid: int) -> bool:
    """Return whether a process runs, or is stopped; one that nobody has waited for has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
