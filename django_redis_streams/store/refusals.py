"""What an error reply says, where the code has an answer to it."""

from __future__ import annotations

__all__ = ["group_is_gone"]


def group_is_gone(error: Exception) -> bool:
    """NOGROUP: the stream or the group isn't there. Redis before 7.0 wraps what a script's command was told."""
    return "NOGROUP" in str(error)
