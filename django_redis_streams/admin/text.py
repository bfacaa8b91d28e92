"""Text from the server, fit to be shown: what can't be seen or would deceive is written out.

Escaping for HTML is the templates' own; this is about what escaping leaves: control characters, bytes that
aren't UTF-8 (half characters that no response can hold), and marks that reverse the direction of what follows.
"""

from __future__ import annotations

import re
from typing import Final

from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

__all__ = ["breakable", "shortened", "visible"]

# Controls but tab and line feed, direction marks, line and paragraph separators, half characters, byte order mark.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


_JOINTS: Final = re.compile(r"(?<=[.:/_-])")


def visible(text: str) -> str:
    r"""The same text, what can't be seen in it written as Python would: `\x00`, `\u202e`, and bytes as `\xff`."""
    return _UNSEEN.sub(_written_out, text)


def shortened(text: str, most: int = 120) -> str:
    """The beginning of a visible text, in a line."""
    line = " ".join(text[: most + 1].split())
    return visible(line if len(text) <= most else f"{line[: most - 1]}…")


def breakable(text: str) -> str:
    """The beginning of a dotted name or the like, as HTML that may be broken into lines at its joints."""
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in _JOINTS.split(shortened(text))))


def _written_out(match: re.Match[str]) -> str:
    written = ascii(match[0])[1:-1]
    # A byte that wasn't UTF-8 came as half a character (PEP 383).
    return f"\\x{written[-2:]}" if "\udc80" <= match[0] <= "\udcff" else written
