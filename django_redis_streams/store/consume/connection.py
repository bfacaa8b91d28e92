"""A consumer's own connection: load the scripts, end the connection that it replaces, wake a blocked read."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from ...conf import StreamConfig
from ...connections import Link, OpenLink
from ...connections.refusals import ClusterDown, OnOtherNode
from ..scripts import all_scripts

__all__ = ["Client", "begin_session", "check_keys", "unblock"]


class Client(NamedTuple):
    """One connection as its server knows it. Ids begin anew when a server starts: `run` tells which start it was.

    `wakeable` says whether its user may end a blocked read by `unblock`. `node` is the node of a cluster that it is
    connected to, "" for a single server.
    """

    id: int | None
    run: str | None
    wakeable: bool
    node: str = ""


def begin_session(link: OpenLink, previous: Client | None) -> Client:
    """Load the scripts, and end the connection that this one replaces; return this one's ids, as far as ACLs allow.

    A server goes on serving a dead connection's blocked read, under the same consumer name, before the new
    connection's. Where an ACL forbids CLIENT KILL, `ownership.pending_of` finds what the dead
    one was given.
    """
    link.call_many([["SCRIPT", "LOAD", each.source] for each in all_scripts()])
    client_id = _allowed(link, "CLIENT", "ID")
    # It is asked for this connection, which isn't blocked, so it changes nothing: the reply is 0, or a refusal.
    wakeable = client_id is not None and _allowed(link, "CLIENT", "UNBLOCK", client_id) is not None
    client = Client(client_id, _run_id(link), wakeable, link.node)
    # If the server was restarted since, the id belongs to another client.
    if previous is not None and previous.id is not None and previous.run == client.run is not None:
        _allowed(link, "CLIENT", "KILL", "ID", previous.id)
    return client


def check_keys(link: Link, stream: StreamConfig) -> None:
    """Raise `OnOtherNode` where the server is a node of a cluster that hasn't all keys of a stream.

    Each key but that of the dead letters has the hash slot of the stream's by its name. Raises `ClusterDown`, too.
    """
    try:
        link.call("EXISTS", stream.keys.main, stream.keys.dlq)
    except (OnOtherNode, ClusterDown):
        raise
    except ResponseError:  # an ACL may forbid it
        return


def unblock(link: Link, client: Client) -> bool:
    """End another connection's blocking read at once; it replies as if it had timed out. Return whether there was one.

    A server that refuses to do so has ended none, and none blocks for long at a node of a cluster that is away.
    """
    try:
        return bool(link.of_node(client.node).call("CLIENT", "UNBLOCK", client.id or 0))
    except ResponseError:  # also `PartUnreachable`
        return False


def _run_id(link: Link) -> str | None:
    lines = str(_allowed(link, "INFO", "server") or "").splitlines()
    return next((line.partition(":")[2] for line in lines if line.startswith("run_id:")), None)


def _allowed(link: Link, *command: str | int) -> Any:
    """Return the reply to a command that only saves time, or None: an ACL may forbid it."""
    try:
        return link.call(*command)
    except ResponseError:
        return None
