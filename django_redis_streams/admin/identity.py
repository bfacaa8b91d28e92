"""Where a message is, as the primary key of its model and a part of URLs: texts joined by `/`, each quoted.

What nobody made of texts in that way is no key: each message has one, and only one.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

__all__ = ["join", "split"]


def join(*parts: str) -> str:
    """Join texts into a key that is all ASCII, whatever bytes the texts hold."""
    return "/".join(quote(part, safe="", errors="surrogateescape") for part in parts)


def split(key: str, count: int) -> tuple[str, ...] | None:
    """Split a key into the `count` texts that it was made of; return None for a key that `join` doesn't make."""
    parts = tuple(unquote(part, errors="surrogateescape") for part in key.split("/"))
    try:
        return parts if len(parts) == count and join(*parts) == key else None
    except UnicodeEncodeError:
        return None
