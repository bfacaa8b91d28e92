"""A message's identity as its primary key and a part of URLs: texts joined by `/`, each quoted.

Only `join` makes keys, so each message has exactly one key. Any other text is no key.
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
