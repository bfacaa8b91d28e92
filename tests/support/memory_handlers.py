"""Handlers that write down what their process has in memory."""

import gc
import os
import sys
from pathlib import Path

from django_redis_streams.handlers import handler
from django_redis_streams.message import Message


def _note(what: str, *words: object) -> None:
    with Path(os.environ["TEST_RUNS"]).open("a") as file:
        file.write(" ".join(map(str, (what, *words))) + "\n")


def _own() -> int:
    """Return how many KB of this process are its own: pages that it shares with no other process."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


@handler("orders", group="billing", type="modules")
def modules(_: Message) -> None:
    """Write down all modules."""
    _note("modules", *sorted(sys.modules))


@handler("orders", group="billing", type="collect")
def collect(_: Message) -> None:
    """Write down how many KB the process has of its own before and after a full run of the collector."""
    before = _own()
    gc.collect()
    _note("own", before, _own())
