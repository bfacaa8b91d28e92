"""Handlers that do what a message says, and write down what they did.

A message is a flat entry whose `do` says what to do. Each run is a line in the file `TEST_RUNS`: `group id do attempt
pid`, after `began` or `ended`. A line is one write, so lines of several processes never mix.
"""

import ctypes
import faulthandler
import os
import re
import signal
import sys
import time
from pathlib import Path

from django.conf import settings

from django_redis_streams.exceptions import Reject, Retry
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.store.consume import promote
from django_redis_streams.worker.timing import DEFAULT_TIMING

# Memory that handlers have leaked.
kept: list[bytes] = []


def note(what: str, message: Message) -> None:
    """Append a line to the file of runs."""
    line = f"{what} {message.group} {message.id} {message.payload.get('do')} {message.attempt} {os.getpid()}\n"
    descriptor = os.open(os.environ["TEST_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def once(path: str) -> bool:
    """Return whether this is the first call of any process for this path."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def die() -> None:
    """End this process like the kernel's out-of-memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(path: str) -> None:
    """Wait until this path exists."""
    while not Path(path).exists():
        time.sleep(0.005)


def obey(do: str, message: Message) -> None:  # noqa: C901, PLR0912, PLR0915  one line for each thing that can be asked
    """Do what `do` says."""
    match do.split(":"):
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["wait", path]:
            wait_for(path)
        case ["keep", mebibytes]:
            kept.append(b"x" * (int(mebibytes) << 20))
        case ["first-waits", path, then] if once(f"{path}.first"):
            wait_for(path)
            obey(then, message)
        case ["fail"]:
            raise RuntimeError("told to fail")
        case ["fail-once"] if message.attempt == 1:
            raise RuntimeError("told to fail once")
        case ["fail-for", group] if message.group == group:
            raise RuntimeError(f"told to fail for {group}")
        case ["fail-until", path] if not Path(path).exists():
            raise RuntimeError("the gateway is down")
        case ["reject-until", path] if not Path(path).exists():
            raise Reject("no such article")
        case ["slow-until", path] if not Path(path).exists():
            time.sleep(1.2)
        case ["retry-once", seconds] if message.attempt == 1:
            raise Retry(delay=float(seconds))
        case ["retry", seconds]:
            raise Retry(delay=float(seconds))
        case ["reject"]:
            raise Reject("told to")
        case ["exit"]:
            sys.exit(3)
        case ["exit-hard-once", path, code] if once(path):
            os._exit(int(code))
        case ["exit-hard", code]:
            os._exit(int(code))
        case ["sleep-for", group, seconds] if message.group == group:
            time.sleep(float(seconds))
        case ["hold-gil-for", group]:
            # After the other group's handler has begun.
            time.sleep(0.2 if message.group == group else 0.6)
            if message.group == group:
                obey("hold-gil", message)
        case ["segfault-for", group] if message.group == group:
            obey("segfault", message)
        case ["die-then-wait", path, finish]:
            if once(path):
                die()
            wait_for(finish)
        case ["segfault"]:
            faulthandler.disable()  # its report would clutter the log
            ctypes.string_at(0)
        case ["hold-gil"]:
            # Takes some hundred years, in C, and holds the GIL.
            re.match("(a|aa)+$", "a" * 100 + "b")
        case ["die"]:
            die()
        case ["die-once", path] if once(path):
            die()


def _declare(stream: str, group: str) -> None:
    @handler(stream, group=group)
    def run(message: Message) -> None:
        note("began", message)
        obey(str(message.payload.get("do", "nothing")), message)
        note("ended", message)


# A promoter's lease outlives the promoter: for less time than usual here, so that tests are quick.
promote.GRACE_MS = 200
# Set here, as the worker's process has no option for its timing: tests start the command like a user.
object.__setattr__(DEFAULT_TIMING, "look_for_lease", 0.1)
# With a longer "block" than usual, a test shows that a stop ends a blocked read. With a shorter time for a reply or for
# rescuers, it sees sooner what becomes of what doesn't come.
for wait in ("block", "reply_timeout", "rescuers_grace"):
    object.__setattr__(
        DEFAULT_TIMING, wait, float(os.environ.get(f"TEST_{wait.upper()}", getattr(DEFAULT_TIMING, wait)))
    )

# Each group gets one handler, except groups called `nobody`.
for stream, declared in settings.REDIS_STREAMS["STREAMS"].items():
    for group in declared["GROUPS"]:
        if group != "nobody":
            _declare(stream, group)
