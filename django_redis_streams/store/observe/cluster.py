"""What a node of a cluster says of the whole: which master has which slots, which replicas stand by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ...connections import Link
from ...connections.cluster.slots import SLOTS

__all__ = ["ClusterFacts", "Master", "cluster_facts"]

# What the flags of a node say while others can't reach it: for certain, or so far.
_AWAY: Final = {"fail", "fail?", "noaddr", "handshake"}


@dataclass(frozen=True, slots=True)
class Master:
    """A master that has slots. `away`: others can't reach it. `replicas` counts those that could take over."""

    address: str
    slots: tuple[range, ...]
    away: bool
    replicas: int


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What one `node` says of its cluster; `state` is "ok" where it serves."""

    node: str
    state: str
    masters: tuple[Master, ...]

    @property
    def unassigned(self) -> int:
        """How many slots no master has."""
        return SLOTS - sum(len(each) for master in self.masters for each in master.slots)

    def master_of(self, slot: int) -> Master | None:
        """Return the master of a slot, None where none has it."""
        return next((each for each in self.masters if any(slot in slots for slots in each.slots)), None)


def cluster_facts(link: Link) -> ClusterFacts:
    """Return what a node says of its cluster. Raises `ResponseError` where an ACL forbids to ask."""
    told = dict(line.split(":", 1) for line in str(link.call("CLUSTER", "INFO")).splitlines() if ":" in line)
    masters = tuple(_masters(str(link.call("CLUSTER", "NODES"))))
    return ClusterFacts(link.node, told.get("cluster_state", "unknown"), masters)


def _masters(reply: str) -> Iterator[Master]:
    # <id> <ip:port@cport[,hostname]> <flags> <master's id> <ping> <pong> <epoch> <link> <slot> <slot> …
    nodes = [line.split() for line in reply.splitlines() if line.strip()]
    standing_by = [master for _, _, flags, master, *_ in nodes if not _away(flags)]
    for identity, address, flags, _, _, _, _, _, *slots in nodes:
        ranges = tuple(_ranges(slots))
        if ranges and "master" in flags.split(","):
            yield Master(_name(address), ranges, _away(flags), standing_by.count(identity))


def _away(flags: str) -> bool:
    return not _AWAY.isdisjoint(flags.split(","))


def _name(address: str) -> str:
    place, _, hostname = address.partition(",")
    host, _, port = place.partition("@")[0].rpartition(":")
    # After it may come more, by names: `shard-id=…`.
    named = hostname.partition(",")[0]
    host = named if named and "=" not in named else host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _ranges(words: Sequence[str]) -> Iterator[range]:
    for word in words:
        if not word.startswith("["):  # a slot that moves; it is also among the others
            first, _, last = word.partition("-")
            yield range(int(first), int(last or first) + 1)
