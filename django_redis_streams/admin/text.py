"""Text from the server as one line or as HTML, with invisible characters written out. Templates escape it."""

from __future__ import annotations

import re
from typing import Final

from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from ..inspection import visible

__all__ = ["breakable", "shortened", "visible"]

_JOINTS: Final = re.compile(r"(?<=[.:/_-])")


def shortened(text: str, most: int = 120) -> str:
    """Return the beginning of a text in one line, made visible."""
    line = " ".join(text[: most + 1].split())
    return visible(line if len(text) <= most else f"{line[: most - 1]}…")


def breakable(text: str) -> str:
    """Return the beginning of a dotted name or the like as HTML that may be broken into lines at its joints."""
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in _JOINTS.split(shortened(text))))
