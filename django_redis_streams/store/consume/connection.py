"""A consumer's own connection: load the scripts, end the connection that it replaces, wake a blocked read."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from ...connections import Link
from ..scripts import all_scripts

__all__ = ["Client", "begin_session", "unblock"]


class Client(NamedTuple):
    """One connection as its server knows it. Ids begin anew when a server starts: `run` tells which start it was."""

    id: int | None
    run: str | None


def begin_session(link: Link, previous: Client | None) -> Client:
    """Load the scripts, and end the connection that this one replaces; return this one's ids, as far as ACLs allow.

    A server goes on serving a dead connection's blocked read, under the same consumer name, before the new
    connection's. Where an ACL forbids CLIENT KILL, `ownership.pending_of` finds what the dead
    one was given.
    """
    link.call_many([["SCRIPT", "LOAD", each.source] for each in all_scripts()])
    client = Client(_allowed(link, "CLIENT", "ID"), _run_id(link))
    # If the server was restarted since, the id belongs to another client.
    if previous is not None and previous.id is not None and previous.run == client.run is not None:
        _allowed(link, "CLIENT", "KILL", "ID", previous.id)
    return client


def unblock(link: Link, client_id: int) -> None:
    """End another connection's blocking read at once; it replies as if it had timed out."""
    _allowed(link, "CLIENT", "UNBLOCK", client_id)


def _run_id(link: Link) -> str | None:
    lines = str(_allowed(link, "INFO", "server") or "").splitlines()
    return next((line.partition(":")[2] for line in lines if line.startswith("run_id:")), None)


def _allowed(link: Link, *command: str | int) -> Any:
    """Return the reply to a command that only saves time, or None: an ACL may forbid it."""
    try:
        return link.call(*command)
    except ResponseError:
        return None
