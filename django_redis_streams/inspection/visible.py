"""Makes text from the server fit for a page or a terminal: invisible or deceptive characters are written out.

These are control characters, bytes that aren't UTF-8 (half characters that no response can hold), and marks that
reverse the direction of what follows.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["visible"]

# Controls except tab and line feed, direction marks, line and paragraph separators, half characters, byte order mark.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def visible(text: str) -> str:
    r"""Return a text with invisible characters written as Python would: `\x00`, `\u202e`, and bytes as `\xff`."""
    return _UNSEEN.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    written = ascii(match[0])[1:-1]
    # A byte that wasn't UTF-8 was decoded to half a character (PEP 383).
    return f"\\x{written[-2:]}" if "\udc80" <= match[0] <= "\udcff" else written
