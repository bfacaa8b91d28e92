"""What a server says of itself, where that decides whether messages are safe with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from ...connections import Link
from ..scripts import Command

__all__ = [
    "Facts",
    "compared_with",
    "facts",
    "facts_command",
    "facts_of",
    "identity",
    "note_compared",
    "required_replicas",
]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself; None where it doesn't tell.

    `version` is that of the Redis whose commands it has, also where it is a Valkey. `eviction` is its
    `maxmemory-policy`. `append_only` tells whether it keeps an append-only file, `unsaved` names which of its last
    savings to disk failed. `memory` and `maxmemory` are in bytes, the latter 0 where there is no bound; `evicted` is
    how many keys it has deleted to stay below it, since it was started. `replica` tells whether it is one, `replicas`
    how many it has, and `late_replicas` which of these don't follow closely. `cluster` tells whether it is a node of a
    cluster.
    """

    version: tuple[int, ...] | None
    eviction: str | None
    append_only: bool | None
    unsaved: tuple[str, ...] = ()
    memory: int | None = None
    maxmemory: int | None = None
    evicted: int | None = None
    replica: bool | None = None
    replicas: int | None = None
    late_replicas: tuple[str, ...] = ()
    cluster: bool = False

    @property
    def evicts_streams(self) -> bool | None:
        """Whether it deletes streams when its memory is full; other policies delete only keys with an expiry."""
        return None if self.eviction is None else self.eviction.startswith("allkeys-")


_REPLICA = re.compile(r"slave\d+")
# In seconds since a replica last acknowledged what it has; it does so each second.
_LATE = 10
# In bytes that it hasn't acknowledged. Below that lies what a fast server may write in that second.
_FAR = 64 * 1024 * 1024

# Fields of INFO that tell the status of each saving. After a failure the server may refuse writes.
_SAVINGS = {
    "aof_last_write_status": "append-only file",
    "aof_last_bgrewrite_status": "rewriting of the append-only file",
    "rdb_last_bgsave_status": "snapshot",
}


def facts(link: Link) -> Facts:
    """Return what INFO says. Raises `ResponseError` where an ACL forbids to ask."""
    return facts_of(link.call(*facts_command()))


def identity(link: Link) -> str:
    """Return what tells this run of a server, with this history, from any other. Raises `ResponseError` as `facts`.

    Of a cluster it tells that of all nodes that have slots.
    """
    return " ".join(sorted(map(_identity, link.each_node())))


def _identity(link: Link) -> str:
    lines = f"{link.call('INFO', 'server')}\n{link.call('INFO', 'replication')}".splitlines()
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    return f"{found.get('run_id', '')}/{found.get('master_replid', '')}"


def compared_with(link: Link, key: str) -> str | None:
    """Return the `identity` that was noted under a key last; None where none is."""
    noted: str | None = link.call("GET", key)
    return noted


def note_compared(link: Link, key: str, noted: str) -> None:
    """Note an `identity` under a key."""
    link.call("SET", key, noted)


def required_replicas(link: Link) -> int | None:
    """Return without how many replicas the server refuses writes; None where it doesn't tell, as managed ones don't."""
    try:
        reply = link.call("CONFIG", "GET", "min-replicas-to-write")
    except ResponseError:
        return None
    return _number(reply[1]) if reply else None


def facts_command() -> Command:
    """Ask a server for what it says of itself, for `facts_of`."""
    return ["INFO"]


def facts_of(reply: Any) -> Facts:
    """Return the facts that the server replied with."""
    lines = str(reply).splitlines()
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    append_only = found.get("aof_enabled")
    return Facts(
        version=_version(found.get("redis_version", "")),
        eviction=found.get("maxmemory_policy"),
        append_only=None if append_only is None else append_only == "1",
        unsaved=tuple(name for field, name in _SAVINGS.items() if found.get(field) == "err"),
        memory=_number(found.get("used_memory")),
        maxmemory=_number(found.get("maxmemory")),
        evicted=_number(found.get("evicted_keys")),
        replica=None if "role" not in found else found["role"] != "master",
        replicas=_number(found.get("connected_slaves")),
        late_replicas=tuple(_late_replicas(found)),
        cluster=found.get("cluster_enabled") == "1",
    )


def _late_replicas(found: Mapping[str, str]) -> Iterator[str]:
    """Yield the replicas that don't follow closely, each with how that is known."""
    written = _number(found.get("master_repl_offset")) or 0
    for each in (_parts(line) for field, line in found.items() if _REPLICA.fullmatch(field)):
        state, silent = each.get("state"), _number(each.get("lag")) or 0
        behind = max(0, written - (_number(each.get("offset")) or 0))
        if state != "online" or silent > _LATE or behind > _FAR:
            yield (
                f"{each.get('ip')}:{each.get('port')} (state {state}, {behind:,} bytes behind, silent for {silent:,} s)"
            )


def _parts(line: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in line.split(",") if "=" in part)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _version(text: str) -> tuple[int, ...] | None:
    parts = text.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else None
