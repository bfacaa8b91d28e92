"""Handlers that do what a message tells them, and write down what they did.

A message is a flat entry: `do` says what; each run is a line in the file `TEST_RUNS`: `group id do attempt pid`,
with `began` or `ended` before it. A line is one write, so lines of several processes never mix.
"""

import os
import signal
import time
from pathlib import Path

from django_redis_streams.exceptions import Reject, Retry
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message


def note(what: str, message: Message) -> None:
    """Append a line to the file of runs."""
    line = f"{what} {message.group} {message.id} {message.payload.get('do')} {message.attempt} {os.getpid()}\n"
    descriptor = os.open(os.environ["TEST_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def obey(message: Message) -> None:
    """Do what the message says."""
    match str(message.payload.get("do", "nothing")).split(":"):
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["wait", path]:
            while not Path(path).exists():
                time.sleep(0.005)
        case ["fail"]:
            raise RuntimeError("told to fail")
        case ["fail-once"] if message.attempt == 1:
            raise RuntimeError("told to fail once")
        case ["fail-for", group] if message.group == group:
            raise Reject(f"told to fail for {group}")
        case ["retry"]:
            raise Retry(delay=0.01)
        case ["reject"]:
            raise Reject("told to")
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)


def _declare(group: str) -> None:
    @handler("orders", group=group)
    def run(message: Message) -> None:
        note("began", message)
        obey(message)
        note("ended", message)


for each in ("billing", "loyalty"):
    _declare(each)
