"""A master, its replicas, and the sentinels that watch them, all of one kind of server."""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from redis.exceptions import RedisError

from .servers import CHOSEN, Server, free_port
from .waiting import wait_until

MASTER = "mymaster"
# Whether the server of the run is the master of such a set: TEST_SENTINELS in the environment, whatever its value.
BY_SENTINELS = "TEST_SENTINELS" in os.environ
HOST = "127.0.0.1"


class SentinelServer(Server):
    """One sentinel. It may be killed, paused and started again like any server; its options are in a file."""

    def __init__(self, kind: str, master_port: int, lines: Sequence[str], quorum: int) -> None:
        self.port = free_port()
        self._lines = [f"sentinel monitor {MASTER} {HOST} {master_port} {quorum}", *lines]
        super().__init__(kind, port=str(self.port), bind=HOST)

    def words(self) -> list[str]:
        """Return the words that start it. The file is written once: a sentinel keeps in it what it learns."""
        path = self.directory / "sentinel.conf"
        if not path.exists():
            given = (f"{name} {self.options[name]}" for name in ("dir", "unixsocket", "port", "bind"))
            path.write_text("\n".join([*given, *self._lines, ""]))
        return [str(path), "--sentinel"]

    def start(self) -> None:
        """Start it. From 7.0 on it does each second what it would do each ten seconds.

        Then a master that comes back is made a replica after 4 s, else only after half a minute.
        """
        super().start()
        with suppress(RedisError):  # it doesn't know that, or has a password
            self.raw().execute_command("SENTINEL", "DEBUG", "INFO-PERIOD", 1000, "PUBLISH-PERIOD", 1000)

    def master(self) -> tuple[str, int] | None:
        """Return the address of the master that it names."""
        host, port = self.raw().execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return host, int(port)


class Naming(Protocol):
    """A set of servers that one of them stands for: what leads to the set leads to that server."""

    # What a user needs beside the rules of a single server.
    rights: Sequence[str]

    def url(self, login: str = "") -> str:
        """Return the URL of the set."""

    def stop(self) -> None:
        """End all of it for good."""


class DataServer(Server):
    """A master or a replica: a server that has a port, by which sentinels and other servers know it."""

    def __init__(self, kind: str = CHOSEN, *, port: int = 0, **options: str | tuple[str, ...]) -> None:
        self.port = port or free_port()
        # The set that it stands for: then that is what leads to it.
        self.named_by: Naming | None = None
        # Else a replica waits for others for five seconds before the first is given the data.
        super().__init__(kind, port=str(self.port), bind=HOST, repl_diskless_sync_delay="0", **options)

    @property
    def url(self) -> str:
        """The server's URL, or that of the set whose master it is."""
        return super().url if self.named_by is None else self.named_by.url()

    def user(self, name: str, password: str, *rules: str) -> str:
        """Make an ACL user; return the URL to connect as that user. Of a set, it needs one right more."""
        url = super().user(name, password, *rules, *([] if self.named_by is None else self.named_by.rights))
        return url if self.named_by is None else self.named_by.url(login=url.removeprefix("unix://").rpartition("@")[0])

    def stop(self) -> None:
        """End the server for good, and where it stands for a set, all of that."""
        super().stop()
        named_by, self.named_by = self.named_by, None
        if named_by is not None:
            named_by.stop()

    @property
    def role(self) -> str:
        """Its role: "master" or "slave"; "" where it tells none, as it drops its clients when that changes."""
        with suppress(RedisError):
            return str(self.raw().role()[0])
        return ""

    @property
    def in_step(self) -> bool:
        """Whether it is a replica that has its master's data, and follows."""
        with suppress(RedisError):
            return dict(self.raw().info("replication")).get("master_link_status") == "up"
        return False


class SentinelSet:
    """A master, a replica and three sentinels. The default of `down_after`, in ms, is for a failover within seconds.

    `options` are those of master and replica, as of any `Server`.
    """

    rights = ("+role",)

    def __init__(
        self,
        kind: str = CHOSEN,
        *,
        down_after: int = 800,
        **options: str | tuple[str, ...],
    ) -> None:
        self.servers: list[DataServer] = []
        self.sentinels: list[SentinelServer] = []
        self.kind, self.options = kind, options
        lines = [
            f"sentinel down-after-milliseconds {MASTER} {down_after}",
            f"sentinel failover-timeout {MASTER} 3000",
        ]
        try:
            first = self.add_server()
            self.add_server(replicaof=(HOST, str(first.port)))
            for _ in range(3):
                self.sentinels.append(SentinelServer(kind, first.port, lines, quorum=2))
            wait_until(lambda: all(each.in_step for each in self.servers[1:]), "a replica in step", deadline=60)
            wait_until(lambda: all(map(self._complete, self.sentinels)), "sentinels that know each other", deadline=60)
        except BaseException:
            self.stop()
            raise

    def add_server(self, **options: str | tuple[str, ...]) -> DataServer:
        """Start one more server of the set."""
        self.servers.append(DataServer(self.kind, **self.options, **options))
        return self.servers[-1]

    def _complete(self, sentinel: SentinelServer) -> bool:
        found = _by_name(sentinel.raw().execute_command("SENTINEL", "MASTER", MASTER))
        others, replicas = int(found["num-other-sentinels"]), int(found["num-slaves"])
        # A replica that is known and wasn't asked yet can't be promoted.
        return others == 2 and replicas == len(self.servers) - 1 and self._asked(sentinel)

    @staticmethod
    def _asked(sentinel: SentinelServer) -> bool:
        replicas = sentinel.raw().execute_command("SENTINEL", "REPLICAS", MASTER)
        return all(_by_name(each)["master-link-status"] == "ok" for each in replicas)

    def url(self, login: str = "", database: int = 0, order: Sequence[int] = (0, 1, 2)) -> str:
        """Return the URL of the set, with the sentinels in an order of their numbers."""
        hosts = ",".join(f"{HOST}:{self.sentinels[number].port}" for number in order)
        login = f"{login}@" if login else ""
        return f"redis+sentinel://{login}{hosts}/{MASTER}/{database}"

    @property
    def master(self) -> DataServer:
        """The server that says that it is the master, and is named by most sentinels."""
        named = [each.master() for each in self.sentinels if each.running]
        return max(self.servers, key=lambda each: named.count((HOST, each.port)))

    def as_server(self) -> DataServer:
        """Return the master as the server of a whole run: its URL is the set's, and stopping it stops all."""
        self.master.named_by = self
        return self.master

    def fail_over(self) -> DataServer:
        """Have sentinels replace the master, which goes on as a replica; return the new one."""
        before = self.master
        self.sentinels[0].raw().execute_command("SENTINEL", "FAILOVER", MASTER)
        return self.await_other(before)

    def await_other(self, before: DataServer) -> DataServer:
        """Wait until another is elected instead of `before`, and says that it is the master; return it."""

        def elected() -> bool:
            with suppress(RedisError):  # a sentinel is away, too
                return self.master is not before and self.master.role == "master"
            return False

        wait_until(elected, "a new master", deadline=60)
        return self.master

    def stop(self) -> None:
        """End all of it for good."""
        for each in (*self.sentinels, *self.servers):
            each.stop()


def _by_name(reply: Any) -> dict[str, str]:
    """Return what a sentinel says of a server, by name: redis-py gives a dict or a flat list, by its version."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
