"""Rows in columns for people, what could deceive a terminal written out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ..inspection import visible

__all__ = ["table"]

_WIDEST: Final = 60


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line for each row; the first is the head. Long texts are cut."""
    cells = [[visible(" ".join(text[: _WIDEST + 1].split()))[:_WIDEST] for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
