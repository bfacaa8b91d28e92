"""Reading replies: a flat reply as a dict, and an error that the code has an answer to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["group_is_gone", "pairs"]


def pairs(reply: Sequence[Any]) -> dict[str, Any]:
    """Return the dict that a flat reply stands for."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def group_is_gone(error: Exception) -> bool:
    """Return whether the stream or the group isn't there. Redis before 7.0 wraps the error of a script's command."""
    return any(each in str(error) for each in ("NOGROUP", "XGROUP subcommand requires the key to exist"))
