"""Whether servers can be reached, keep what they are given, and have room for more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from redis.exceptions import ResponseError

from ..store.observe.server import Facts
from .findings import Finding, Kind
from .gathering import ServerFacts

__all__ = ["server_findings"]

_OLDEST: Final = (6, 2)
# Of maxmemory: beyond it, there is little time left to do something.
_NEARLY: Final = 0.8

Check = Callable[[ServerFacts, Facts], Iterator[Finding]]


def server_findings(server: ServerFacts) -> Iterator[Finding]:
    """What is wrong with one server."""
    if isinstance(server.told, ResponseError):
        yield _unasked(server, f"INFO was answered by: {server.told}")
    elif isinstance(server.told, Exception):
        yield Finding(
            kind=Kind.UNREACHABLE,
            where=server.where,
            what="The server can't be asked: nothing can be published or consumed there.",
            because=str(server.told),
            mend="Start the server, or correct URL and OPTIONS of the connection.",
        )
    else:
        for check in _CHECKS:
            yield from check(server, server.told)


def told_all(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """A server behind a proxy, or one that is hosted, may leave out some of it."""
    known = {
        "version": told.version, "maxmemory-policy": told.eviction, "appendonly": told.append_only,
        "maxmemory": told.maxmemory, "role": told.replica,
    }  # fmt: skip
    if silent := [name for name, value in known.items() if value is None]:
        yield _unasked(server, f"INFO doesn't tell: {', '.join(silent)}.")


def version(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """Redis 6.2 is the oldest that has all the commands."""
    if told.version is not None and told.version < _OLDEST:
        yield Finding(
            kind=Kind.OLD_SERVER,
            where=server.where,
            what="The server lacks commands that workers need.",
            because=f"INFO says that it is of version {'.'.join(map(str, told.version))}.",
            mend="Use Redis 6.2 or newer, or Valkey.",
        )


def replication(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """A replica takes no writes; a primary without one is as safe as its host."""
    if told.replica:
        yield Finding(
            kind=Kind.REPLICA,
            where=server.where,
            what="The connection leads to a replica, which takes no writes.",
            because="INFO says that its role isn't that of a primary.",
            mend="Let URL of the connection lead to the primary, or promote this one: REPLICAOF NO ONE.",
        )
    elif told.replicas == 0 and not server.embedded:
        yield Finding(
            kind=Kind.NO_REPLICA,
            where=server.where,
            what="No replica is connected: what the server holds is as safe as its host.",
            because="INFO says connected_slaves:0.",
            mend="Run a replica where an outage of the host must not stop the queue.",
        )
    if told.late_replicas:
        yield Finding(
            kind=Kind.REPLICA_BEHIND,
            where=server.where,
            what=f"Replicas don't follow: {', '.join(told.late_replicas)}. A failover to one loses messages.",
            because="INFO says that they aren't online, or have acknowledged nothing for more than 10 s.",
            mend="Look into the replica's log, and at the network between both.",
        )


def memory(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """At maxmemory nothing more can be published; without it the system ends the server."""
    if not told.maxmemory or told.memory is None:
        if told.maxmemory == 0 and not server.embedded:
            yield Finding(
                kind=Kind.NO_MAXMEMORY,
                where=server.where,
                what="The server's memory has no bound: when the host's is used up, the system ends the server.",
                because="INFO says maxmemory:0.",
                mend="Set maxmemory, below what the host has.",
            )
        return
    used = told.memory / told.maxmemory
    if used >= _NEARLY:
        full = used >= 1 and told.eviction == "noeviction"
        yield Finding(
            kind=Kind.MEMORY_FULL if full else Kind.MEMORY_FILLS,
            where=server.where,
            what="The server refuses what is published." if full else "The server's memory is nearly full.",
            because=f"It uses {told.memory:,} of maxmemory {told.maxmemory:,} bytes.",
            mend="Have workers catch up and set MAXLEN or MAX_AGE, so that streams are trimmed; or raise maxmemory.",
        )


def eviction(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """With its memory full a server deletes whole keys, streams among them, unless told not to."""
    if told.eviction in (None, "noeviction"):
        return
    evicted = bool(told.evicted)
    yield Finding(
        kind=Kind.EVICTED if evicted else Kind.EVICTS,
        where=server.where,
        what="The server has deleted keys as its memory was full; streams may be among them."
        if evicted
        else "With its memory full the server may delete whole streams.",
        because=f"INFO says maxmemory_policy:{told.eviction}, evicted_keys:{told.evicted}.",
        mend="Set maxmemory-policy to noeviction; a cache belongs on another server.",
    )


def durability(server: ServerFacts, told: Facts) -> Iterator[Finding]:
    """What was acknowledged to a publisher must outlive a restart."""
    if told.append_only is False:
        yield Finding(
            kind=Kind.NO_APPEND_ONLY_FILE,
            where=server.where,
            what="A restart of the server loses what was published since its last snapshot.",
            because="INFO says aof_enabled:0.",
            mend="Set appendonly to yes.",
        )
    if told.unsaved:
        yield Finding(
            kind=Kind.SAVING_FAILS,
            where=server.where,
            what="The server can't write to its disk, and may refuse what is published for that.",
            because=f"INFO says that the last {' and the last '.join(told.unsaved)} failed; its log says why.",
            mend="Make room on its disk, or correct dir and the rights on it; then BGSAVE.",
        )


def development(server: ServerFacts, _: Facts) -> Iterator[Finding]:
    """An embedded server is right on a developer's machine only."""
    if server.embedded:
        yield Finding(
            kind=Kind.EMBEDDED,
            where=server.where,
            what="The server is one for development: it stops when nobody uses it, and serves this host alone.",
            because="URL is embedded://.",
            mend="In production set URL to a server of its own, such as redis://host:6379/0.",
        )


def _unasked(server: ServerFacts, because: str) -> Finding:
    return Finding(
        kind=Kind.UNASKED,
        where=server.where,
        what="The server doesn't tell all that decides whether messages are safe with it.",
        because=because,
        mend="Allow the user of the connection INFO, or look yourself: version, memory, eviction, saving, role.",
    )


_CHECKS: Final[tuple[Check, ...]] = (told_all, version, replication, memory, eviction, durability, development)
