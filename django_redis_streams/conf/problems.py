"""What is wrong with a setting, said so that it can be mended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

__all__ = ["Problem", "nearest"]


@dataclass(frozen=True, slots=True)
class Problem:
    """`id` is that of the system check ("E001"), `message` what is wrong where, `hint` what to change."""

    id: str
    message: str
    hint: str

    @property
    def sentence(self) -> str:
        """The problem in one line."""
        return f"{self.message} {self.hint}".rstrip()


def nearest(name: object, known: Iterable[str]) -> str:
    """Return " Did you mean 'orders'?", with the space before it; or the declared names if none is near."""
    names = list(known)
    close = get_close_matches(str(name), names, n=1)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Declared: {', '.join(map(repr, names))}." if names else " None is declared."
