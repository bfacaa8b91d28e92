"""Keeps common what the processes of a worker have in common: memory that was filled before they were forked.

A forked process shares each page of memory with its parent until one of them writes to it. What is made before the
fork is there once for all processes; what each makes for itself is there once for each.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ...store.scripts import all_scripts

__all__ = ["common_memory"]

_RARER: Final = 10


@contextmanager
def common_memory() -> Iterator[None]:
    """Have the processes that are forked within it share what there is by now.

    The scripts are read, since each process sends them to its servers. Python's collector leaves alone what there is:
    it writes to each object that it looks at, and so its first full run in a process would copy nearly all pages.

    A full run comes when there is a quarter more than the last one has left. What is left alone doesn't count there, so
    full runs would come far more often, and cost a fast handler five per cent of its time: they are made rarer.
    """
    all_scripts()
    gc.collect()  # what is garbage now would never be collected
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(*before[:2], _RARER * before[2])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
