"""Whether servers can be reached, keep what they are given, and have room for more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from redis.exceptions import ResponseError

from ..conf import ConnectionConfig
from ..exceptions import ServerUnreachable
from ..store.observe.server import Facts
from .findings import Code, Finding
from .gathering import ServerFacts, is_embedded, least_replicas, subject_of

__all__ = ["development", "server_findings"]

_OLDEST: Final = (6, 2)
# The share of maxmemory beyond which little time is left to act.
_NEARLY: Final = 0.8

Check = Callable[[ServerFacts, Facts], Iterator[Finding]]


def server_findings(server: ServerFacts, kept: str = "") -> Iterator[Finding]:
    """Find what is wrong with one server; `kept` is a sentence on what the outbox keeps while it is away."""
    # A node of a cluster that can't be reached is both.
    if isinstance(server.told, ResponseError) and not isinstance(server.told, ServerUnreachable):
        yield _unasked(server, f"INFO was answered by: {server.told}")
    elif isinstance(server.told, Exception):
        way = "sent" if kept else "published"
        yield Finding(
            code=Code.UNREACHABLE,
            subject=server.subject,
            message=f"The server can't be asked: nothing can be {way} or consumed there.{kept}",
            evidence=str(server.told),
            fix="Start the server, or correct URL and OPTIONS of the connection.",
        )
    else:
        for check in _CHECKS:
            yield from check(server, server.told)
        yield from development(server.connection)


def told_all(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """Find missing facts: a server behind a proxy, or a hosted one, may leave out some of them."""
    known = {
        "version": told.version, "maxmemory-policy": told.eviction, "appendonly": told.append_only,
        "maxmemory": told.maxmemory, "role": told.replica,
    }  # fmt: skip
    if silent := [name for name, value in known.items() if value is None]:
        yield _unasked(server, f"INFO doesn't tell: {', '.join(silent)}.")


def version(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """Find a server that is too old: Redis 6.2 is the oldest that has all the commands."""
    if told.version is not None and told.version < _OLDEST:
        yield Finding(
            code=Code.OLD_SERVER,
            subject=server.subject,
            message="The server lacks commands that workers need.",
            evidence=f"INFO says that it is of version {'.'.join(map(str, told.version))}.",
            fix="Use Redis 6.2 or newer, or Valkey.",
        )


def cluster(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """Find a node of a cluster: it refuses the streams that are on other nodes."""
    if told.cluster and not server.connection.by_cluster:
        yield Finding(
            code=Code.CLUSTER,
            subject=server.subject,
            message="The server is a node of a cluster, and URL leads to this one alone. Streams whose keys are on "
            "another node can be neither published to nor consumed.",
            evidence="INFO says cluster_enabled:1.",
            fix="Let URL begin with redis+cluster:// or rediss+cluster://. It may name the same host.",
        )


def replication(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """Find weak replication: a replica takes no writes; a primary without a replica is only as safe as its host."""
    if told.replica:
        yield Finding(
            code=Code.REPLICA,
            subject=server.subject,
            message="The connection leads to a replica, which takes no writes.",
            evidence="INFO says that its role isn't that of a primary.",
            fix="Let URL of the connection lead to the primary, or promote this one: REPLICAOF NO ONE.",
        )
    elif told.replicas is not None and told.replicas < (least := least_replicas(server.connection.alias)):
        yield Finding(
            code=Code.TOO_FEW_REPLICAS,
            subject=server.subject,
            message=f"Connected replicas: {told.replicas}, and a stream here has MIN_REPLICAS {least}. Publishing to "
            "it raises NotReplicated, or leaves its messages in the outbox.",
            evidence=f"INFO says connected_slaves:{told.replicas}.",
            fix="Start the missing replicas, or lower MIN_REPLICAS.",
        )
    elif told.replicas == 0 and not server.embedded and not server.connection.by_cluster:
        yield Finding(
            code=Code.NO_REPLICA,
            subject=server.subject,
            message="No replica is connected: what the server holds is as safe as its host.",
            evidence="INFO says connected_slaves:0.",
            fix="Run a replica where an outage of the host must not stop the queue.",
        )
    if told.late_replicas:
        yield Finding(
            code=Code.REPLICA_BEHIND,
            subject=server.subject,
            message=f"Replicas don't follow: {', '.join(told.late_replicas)}. A failover to one loses messages.",
            evidence="INFO says that they aren't online, were silent for more than 10 s, or lack more than 64 MiB.",
            fix="Look into the replica's log, and at the network between both.",
        )
    yield from _not_required(server)


def _not_required(server: ServerFacts) -> Iterator[Finding]:
    """Find a server that goes on without the replicas that publishing waits for."""
    least, required = least_replicas(server.connection.alias), server.required_replicas
    if required is not None and required < least:
        yield Finding(
            code=Code.REPLICAS_NOT_REQUIRED,
            subject=server.subject,
            message=f"A stream here has MIN_REPLICAS {least}, and the server takes writes with {required} replicas: "
            "cut off from them it goes on, and what it does then is lost with the failover.",
            evidence=f"CONFIG GET says min-replicas-to-write {required}.",
            fix=f"Set min-replicas-to-write to {least}, and min-replicas-max-lag to 10, on each server.",
        )


def memory(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """Find a lack of memory: at maxmemory nothing can be published; without a limit the system ends the server."""
    if not told.maxmemory or told.memory is None:
        if told.maxmemory == 0 and not server.embedded:
            yield Finding(
                code=Code.NO_MAXMEMORY,
                subject=server.subject,
                message="The server's memory has no bound: when the host's is used up, the system ends the server.",
                evidence="INFO says maxmemory:0.",
                fix="Set maxmemory, below what the host has.",
            )
        return
    used = told.memory / told.maxmemory
    if used >= _NEARLY:
        full = used >= 1 and told.eviction == "noeviction"
        yield Finding(
            code=Code.MEMORY_FULL if full else Code.MEMORY_FILLS,
            subject=server.subject,
            message="The server refuses what is published." if full else "The server's memory is nearly full.",
            evidence=f"It uses {told.memory:,} of maxmemory {told.maxmemory:,} bytes.",
            fix="Have workers catch up and set MAXLEN or MAX_AGE, so that streams are trimmed; or raise maxmemory.",
        )


def eviction(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """Find eviction: a server with full memory deletes whole keys, by volatile-… only those with an expiry."""
    if told.eviction is None or told.eviction == "noeviction":
        return
    evicted = bool(told.evicted)
    expiring = told.eviction.startswith("volatile-")
    among = "streams that were given an expiry" if expiring else "streams"
    may = "keys with an expiry: the workers' leases and figures, and streams that are given one"
    yield Finding(
        code=Code.EVICTED if evicted else Code.EVICTS,
        subject=server.subject,
        message=f"The server has deleted keys as its memory was full; {among} may be among them."
        if evicted
        else f"With its memory full the server may delete {may if expiring else 'whole streams'}.",
        evidence=f"INFO says maxmemory_policy:{told.eviction}, evicted_keys:{told.evicted}.",
        fix="Set maxmemory-policy to noeviction; a cache belongs on another server.",
    )


def durability(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """Find a lack of durability: an acknowledged message must outlive a restart of the server."""
    if told.append_only is False:
        yield Finding(
            code=Code.NO_APPEND_ONLY_FILE,
            subject=server.subject,
            message="A restart of the server loses what was published since its last snapshot.",
            evidence="INFO says aof_enabled:0.",
            fix="Set appendonly to yes.",
        )
    if told.unsaved:
        yield Finding(
            code=Code.SAVING_FAILS,
            subject=server.subject,
            message="The server can't write to its disk, and may refuse what is published for that.",
            evidence=f"INFO says that the last {' and the last '.join(told.unsaved)} failed; its log says why.",
            fix="Make room on its disk, or correct dir and the rights on it; then BGSAVE.",
        )


def development(connection: ConnectionConfig) -> Iterator[Finding]:
    """Find an embedded server, which is only for a developer's machine."""
    if is_embedded(connection):
        yield Finding(
            code=Code.EMBEDDED,
            subject=subject_of(connection),
            message="The server is one for development: it stops when nobody uses it, and serves this host alone.",
            evidence="URL is embedded://.",
            fix="In production set URL to a server of its own, such as redis://host:6379/0.",
        )


def _unasked(server: ServerFacts, evidence: str) -> Finding:
    return Finding(
        code=Code.UNASKED,
        subject=server.subject,
        message="The server doesn't tell all that decides whether messages are safe with it.",
        evidence=evidence,
        fix="Allow the user of the connection INFO, or look yourself: version, memory, eviction, saving, role.",
    )


_CHECKS: Final[tuple[Check, ...]] = (told_all, version, cluster, replication, memory, eviction, durability)
