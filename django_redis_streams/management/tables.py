"""Tables for people: by rich where it is installed (extra `tables`), in plain columns otherwise."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence

from ..inspection import visible

__all__ = ["ago", "amount", "size", "table"]

_UNITS = (("d", 86400), ("h", 3600), ("m", 60))
_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, widest: int = 60) -> Iterator[str]:
    """Yield a table's lines, or where it is wider than the terminal a record for each row.

    Wide cells are cut at `widest`, and characters that move the cursor are written out.
    """
    cells = [[visible(" ".join(text[: widest + 1].split()))[:widest] for text in row] for row in rows]
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if terminal is not None and _width([head, *cells]) > terminal:
        yield from _records(head, cells)
        return
    try:
        from rich import console  # noqa: PLC0415  an extra
        from rich import table as rich_table  # noqa: PLC0415
    except ImportError:
        yield from _plain([list(head), *cells])
        return
    drawn = rich_table.Table(*head, box=None, pad_edge=False)
    for row in cells:
        drawn.add_row(*(each.replace("[", "\\[") for each in row))
    text = io.StringIO()
    # A program gets no colours. Each row is in one line: it fits the terminal.
    console.Console(file=text, force_terminal=terminal is not None, width=_width([head, *cells]) * 2).print(drawn)
    yield from (line.rstrip() for line in text.getvalue().splitlines() if line.strip())


def _width(rows: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in zip(*rows, strict=True)) - 2


def _records(head: Sequence[str], cells: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield each row as a record, a line a cell, for a terminal that is too narrow for a table."""
    names = max(map(len, head))
    for row in cells:
        yield from (f"{name.ljust(names)}  {text}" for name, text in zip(head, row, strict=True))
        yield ""


def _plain(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def ago(seconds: float | None) -> str:
    """Return a time span in its largest unit, or `-` for None."""
    if seconds is None:
        return "-"
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def amount(count: float | None) -> str:
    """Return a number as people read it, or `unknown` for None."""
    if count is None:
        return "unknown"
    return f"{count:,.0f}" if float(count).is_integer() else f"{count:,.2f}"


def size(count: int | None) -> str:
    """Return a number of bytes as people read it, or `unknown` for None."""
    if count is None:
        return "unknown"
    for unit, length in _SIZES:
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"
