"""What a consumer says of its own connection: know the scripts, end the old one, wake a blocked read."""

from __future__ import annotations

from typing import Any

from redis.exceptions import ResponseError

from ..connections import Link
from .scripts import all_scripts

__all__ = ["begin_session", "unblock"]


def begin_session(link: Link, previous_id: int | None) -> int | None:
    """Load the scripts, and end the connection that this one replaces; returns this one's id, if it may know it.

    A server goes on serving a dead connection's blocked read, under the same consumer name, before the new
    one's: what it delivers then is found by looking (`hold.pending_of`), where an ACL forbids CLIENT KILL.
    """
    link.call_many([["SCRIPT", "LOAD", each.source] for each in all_scripts()])
    if previous_id is not None:
        _allowed(link, "CLIENT", "KILL", "ID", previous_id)
    client_id: int | None = _allowed(link, "CLIENT", "ID")
    return client_id


def unblock(link: Link, client_id: int) -> None:
    """End another connection's blocking read at once; it replies as if it had timed out."""
    _allowed(link, "CLIENT", "UNBLOCK", client_id)


def _allowed(link: Link, *command: str | int) -> Any:
    """The reply to a command that only saves time, or None: an ACL may forbid it."""
    try:
        return link.call(*command)
    except ResponseError:
        return None
