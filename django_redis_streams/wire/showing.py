"""What an error shows of a value: enough to know it by, and never an error of its own."""

from __future__ import annotations

import reprlib
from typing import Any, Final

__all__ = ["excerpt"]


class _Excerpt(reprlib.Repr):
    """A repr of bounded length and depth. A value without a repr is shown by its type."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxother = self.maxlong = 100

    def repr1(self, x: Any, level: int) -> str:
        try:
            return super().repr1(x, level)
        except Exception:  # noqa: BLE001  an int of too many digits for a text, a class whose repr fails
            return f"<{type(x).__name__}>"


_excerpt: Final = _Excerpt()


def excerpt(value: object) -> str:
    """Return the repr of any value, cut where it is long. Raises nothing."""
    return _excerpt.repr(value)
