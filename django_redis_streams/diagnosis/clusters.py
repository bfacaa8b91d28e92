"""Whether a cluster is up, all of its slots are served, and each master has a replica that can take over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .. import conf
from ..conf import ConnectionConfig
from ..connections.cluster.slots import SLOTS, slot_of_key
from ..store.observe.cluster import ClusterFacts
from .findings import Code, Finding
from .gathering import ServerFacts, subject_of

__all__ = ["cluster_findings"]

# So many streams are named of those that a fault concerns.
_NAMED: Final = 5


def cluster_findings(server: ServerFacts) -> Iterator[Finding]:
    """Find what is wrong with the cluster as a whole; `server_findings` finds what is wrong with each node."""
    told, subject = server.cluster, subject_of(server.connection)
    if told is None:
        return
    if not isinstance(told, ClusterFacts):
        yield Finding(
            code=Code.UNASKED,
            subject=subject,
            message="The cluster doesn't tell whether it is up, and which of its slots are served.",
            evidence=f"CLUSTER INFO or CLUSTER NODES was answered by: {told}",
            fix="Allow the user of the connection +cluster|info and +cluster|nodes.",
        )
        return
    yield from _state(told, subject)
    yield from _slots(server, told, subject)
    yield from _alone(told, subject)


def _state(told: ClusterFacts, subject: str) -> Iterator[Finding]:
    if told.state != "ok":
        yield Finding(
            code=Code.CLUSTER_DOWN,
            subject=subject,
            message="The cluster is down: its nodes refuse commands (CLUSTERDOWN).",
            evidence=f"{told.node} says cluster_state:{told.state}.",
            fix="Start the nodes that are away: most masters must see each other. Where the slots of one master are to "
            "hold up no other, set cluster-require-full-coverage to no on each node.",
        )


def _slots(server: ServerFacts, told: ClusterFacts, subject: str) -> Iterator[Finding]:
    away = [each for each in told.masters if each.away]
    if not away and not told.unassigned:
        return
    missing = told.unassigned + sum(len(slots) for master in away for slots in master.slots)
    names = f" (those of {', '.join(each.address for each in away)}, away)" if away else ""
    yield Finding(
        code=Code.SLOTS_MISSING,
        subject=subject,
        message=f"No node serves {missing:,} of {SLOTS:,} slots{names}. {_concerned(server.connection, told)}",
        evidence=f"{told.node} says so, by CLUSTER NODES.",
        fix="Start the master that is away, or have a replica of it take over: CLUSTER FAILOVER FORCE there. Give "
        "slots that no master has to one: redis-cli --cluster fix.",
    )


def _concerned(connection: ConnectionConfig, told: ClusterFacts) -> str:
    found = []
    for stream in conf.get().streams_of(connection.alias).values():
        master = told.master_of(slot_of_key(stream.keys.main))
        if master is None or master.away:
            found.append(stream.name)
    if not found:
        return "No declared stream is there."
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"Streams there can be neither published to nor consumed: {', '.join(found[:_NAMED])}{more}."


def _alone(told: ClusterFacts, subject: str) -> Iterator[Finding]:
    alone = [each.address for each in told.masters if not each.replicas and not each.away]
    if alone:
        yield Finding(
            code=Code.MASTER_ALONE,
            subject=subject,
            message=f"Masters without a replica: {', '.join(alone)}. With one of them its streams are away until it is "
            "back, and as safe as its host.",
            evidence="CLUSTER NODES names no replica of them that can be reached.",
            fix="Add a replica for each: redis-cli --cluster add-node … --cluster-slave --cluster-master-id …",
        )
