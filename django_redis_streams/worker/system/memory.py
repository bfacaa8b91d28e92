"""How much memory a process uses, by the system's own account."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

__all__ = ["readable_size", "resident"]

_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MIB = 1024 * 1024


def resident() -> int:
    """Return how many bytes of this process are in memory now; without /proc, the most that ever were."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def readable_size(size: int) -> str:
    """Return a size as people read it."""
    return f"{size / _MIB:.0f} MiB"
