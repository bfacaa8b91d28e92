"""The progress of a run, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from typing import Any, Final

__all__ = ["Progress"]

_WIDTH: Final = 30
# Seconds between two updates of the bar, and between two lines.
_BAR, _LINE = 0.1, 5.0


class Progress:
    """Shows how many were looked at and how many are done; `total` is how many there are to look at."""

    def __init__(self, out: Any, total: int, *, silent: bool) -> None:
        self._out, self._total, self._silent = out, total, silent
        self._terminal = out.isatty()
        self._every = _BAR if self._terminal else _LINE
        self._last = time.monotonic()
        self._drawn = self._told = False

    def tell(self, searched: int, done: int) -> None:
        """Show the progress, unless that was done just before."""
        now = time.monotonic()
        if self._silent or now - self._last < self._every:
            return
        self._last, self._told = now, True
        self._write(searched, done)

    def _write(self, searched: int, done: int) -> None:
        text = f"{done} done, {searched} of {self._total} looked at"
        if self._terminal:
            full = _WIDTH * min(searched, self._total) // max(1, self._total)
            self._out.write(f"\r[{'#' * full}{'.' * (_WIDTH - full)}] {text}", style_func=str, ending="")
            self._drawn = True
        else:
            self._out.write(text, style_func=str)
        self._out.flush()

    def end(self, searched: int, done: int, *, finished: bool) -> None:
        """Show the last progress where some was shown before; what is `finished` has looked at all there was."""
        if self._told:
            self._total = searched if finished else self._total
            self._write(searched, done)
        if self._drawn:
            self._out.write("", style_func=str)
