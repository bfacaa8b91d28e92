"""Which groups a worker has consumed: only a worker that starts later makes a group anew that was deleted on purpose.

All processes of a worker share this memory. It is made before any of them is forked and outlives each, so that a
process that replaces another doesn't pass for a worker that starts.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

__all__ = ["Joined"]


class Joined:
    """The groups of these `labels` ("orders:billing") that were joined; at first none."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._at = {label: number for number, label in enumerate(labels)}
        self._marks = mmap.mmap(-1, max(1, len(labels)))

    def __contains__(self, label: str) -> bool:
        return self._marks[self._at[label]] == 1

    def add(self, label: str) -> None:
        """Note that a consumer of this worker reads the group from now on."""
        self._marks[self._at[label]] = 1
