"""The links of a cluster: the process' for all threads, one of a caller's own, and one to the node of a key."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn, TypeVar

from redis.exceptions import ResponseError

from ...exceptions import ServerUnreachable
from ..addresses import Address, place
from ..link import Command, OpenLink
from ..pool import Pool
from ..refusals import ClusterDown, OnNoNode, OnOtherNode, PartUnreachable, cannot_serve, moves, part_of
from .routing import Routing
from .slots import slot_of_key
from .topology import Topology

__all__ = ["ClusterPool", "KeyedLink", "RoutingLink"]

T = TypeVar("T")

# In seconds: for so long a node that couldn't be reached isn't tried again, so that it doesn't hold up what is for
# others. At first, and after failing again and again where nobody waits for it.
_BELIEVED: Final = 0.5
_BELIEVED_LATER: Final = 4.0


class _NodeLink(OpenLink):
    """A link to one node, for a routing: what says that a command belongs elsewhere stands in its place."""

    def _refused(self, error: ResponseError) -> None:
        if not moves(error):
            super()._refused(error)


class _NodePool(Pool):
    """The connections of a process to one node."""

    LINK = _NodeLink


class _Away:
    """The nodes that couldn't be reached a moment ago, and why. That is believed for ever longer, up to `most` seconds.

    For any thread.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        # Until when, on the monotonic clock, for how long, and why.
        self._nodes: dict[Address, tuple[float, float, ServerUnreachable]] = {}

    def check(self, node: Address) -> None:
        """Raise the error of a node that was away a moment ago."""
        if (found := self._nodes.get(node)) is not None and time.monotonic() < found[0]:
            raise found[2].with_traceback(None)

    def note(self, node: Address, error: ServerUnreachable) -> None:
        """Note that a node can't be reached."""
        before = self._nodes.get(node)
        seconds = _BELIEVED if before is None else min(self._most, 2 * before[1])
        self._nodes[node] = time.monotonic() + seconds, seconds, error.with_traceback(None)

    def forget(self, node: Address) -> None:
        """Note that a node was reached."""
        self._nodes.pop(node, None)


class ClusterPool(Routing):
    """The process' link to a cluster, for any number of threads: a pool for each node."""

    def __init__(self, topology: Topology) -> None:
        super().__init__(topology)
        self._pools: dict[Address, _NodePool] = {}
        # The nodes that had slots when it last let go of others.
        self._kept: tuple[Address, ...] = ()
        self._away = _Away(_BELIEVED)

    def __repr__(self) -> str:
        endpoint = self._topology.endpoint
        return f"<ClusterPool {endpoint.alias!r} to {endpoint.address}, {len(self._pools)} nodes>"

    def lend(self, node: Address) -> OpenLink:
        """Return a connected link to a node, for one exchange. Raises `ServerUnreachable`: nothing was sent."""
        if (masters := self._topology.last_masters) is not self._kept:
            self._let_go(masters)
        pool = self._pool(node)
        if not pool.has_idle:  # or its connection is as good as before: it may be that the node takes no more of them
            self._away.check(node)
        try:
            return pool.lend()
        except ServerUnreachable as error:
            self._away.note(node, error)
            raise

    def take_back(self, node: Address, link: OpenLink) -> None:
        """Take a link back after the exchange; one that was lost has closed itself."""
        pool = self._pools.get(node)
        if pool is None:  # let go of meanwhile
            link.close()
        else:
            pool.take_back(link)

    def close(self) -> None:
        """Close the idle connections now, and each lent one when it is given back."""
        for each in list(self._pools.values()):
            each.close()

    def _let_go(self, masters: tuple[Address, ...]) -> None:
        """Close the connections to nodes that have no slots any more; a lent one when it is given back."""
        self._kept = masters
        for node in self._pools.keys() - masters:
            if (pool := self._pools.pop(node, None)) is not None:  # another thread may have let go of it
                pool.close()

    def _pool(self, node: Address) -> _NodePool:
        pool = self._pools.get(node)
        if pool is None:
            pool = self._pools.setdefault(node, _NodePool(self._topology.endpoint.at(node)))
        return pool


class KeyedLink(OpenLink):
    """One connection to the node that has a key's slot, as long as it has that.

    Where the node says that it hasn't, or not all of a command's keys yet, or doesn't serve, the link is closed, and
    the next one asks anew where the slot is.
    """

    def __init__(self, topology: Topology, node: Address, timeout: float | None) -> None:
        super().__init__(topology.endpoint.at(node), timeout)
        self._topology = topology
        self._node = node

    @classmethod
    def opened(cls, topology: Topology, key: str, timeout: float | None) -> KeyedLink:
        """Return a connected link. Raises `ServerUnreachable`."""
        slot = slot_of_key(key)
        while True:
            node = topology.owner(slot)
            link = cls(topology, node, timeout)
            try:
                link.connect()
            except ServerUnreachable:
                topology.doubt(node)
                # Another may have it by now.
                if topology.has(node, slot):
                    raise
            else:
                return link

    def _refused(self, error: ResponseError) -> None:
        if isinstance(error, OnOtherNode) and error.redirect is not None and not error.redirect.ask:
            self._topology.moved(error.redirect, self._node)
        elif isinstance(error, OnNoNode | ClusterDown) or cannot_serve(error):
            self._topology.doubt(self._node)
        elif not (isinstance(error, OnOtherNode) and error.redirect is not None):
            return
        self.close()
        said = error.said if isinstance(error, OnOtherNode | ClusterDown) else str(error)
        unreachable = self._endpoint.unreachable(f"doesn't serve it now: {said}.")
        unreachable.moved = isinstance(error, OnOtherNode) and error.redirect is not None and not error.redirect.ask
        raise unreachable from error

    def _lost(self, error: BaseException) -> NoReturn:
        self._topology.doubt(self._node)
        super()._lost(error)


class RoutingLink(Routing, OpenLink):
    """A link of the caller's own to all of a cluster, for one thread at a time.

    It connects to nodes as they are needed, and is never lost as a whole: a node that can't be reached fails what is
    for it.
    """

    def __init__(self, topology: Topology, timeout: float | None) -> None:
        Routing.__init__(self, topology)
        OpenLink.__init__(self, topology.endpoint, timeout)
        self._links: dict[Address, _NodeLink] = {}
        self._away = _Away(_BELIEVED_LATER)
        self._open = True
        self._reconnected = False

    @property
    def connected(self) -> bool:
        """Whether it wasn't closed."""
        return self._open

    @property
    def usable(self) -> bool:
        """Whether it wasn't closed."""
        return self._open

    @property
    def idle(self) -> float:
        """Seconds since the last command or reply of any node."""
        return min((each.idle for each in self._each), default=0.0)

    @property
    def waits_since(self) -> float | None:
        """When that was sent to which a reply is owed, on the monotonic clock; None where none is. For any thread."""
        return min((since for each in self._each if (since := each.waits_since) is not None), default=None)

    def cut(self) -> None:
        """Have the thread that waits on this link find the connections lost on which it waits. For any other thread."""
        for each in self._each:
            if each.waits_since is not None:
                each.cut()

    def connect(self, pauses: Iterable[float] = (), within: float | None = None) -> None:
        """Find out where the slots are. Raises `ServerUnreachable` where no node says it."""
        del pauses, within
        self._topology.masters()

    def close(self) -> None:
        """Close the connections to all nodes."""
        self._open = False
        for each in self._each:
            each.close()
        self._links.clear()

    def confirm(self) -> None:
        """Where connections to nodes were idle, wait for the answers to a PING, and let go of those that are lost."""
        for each in self._each:
            try:
                each.confirm()
            except ServerUnreachable:
                each.close()

    def ask(self, seconds: float) -> None:
        """Have each node answer a PING within so many seconds; raises the error of the first that doesn't."""
        for error in self._silent(seconds, self._topology.masters()):
            raise error

    def silent_nodes(self, seconds: float, keys: Iterable[str]) -> list[ServerUnreachable]:
        """Do as `ask` for each node that has these keys; return the errors, also of keys that no node has."""
        nodes: dict[Address, None] = {}
        errors: dict[str, ServerUnreachable] = {}
        for each in keys:
            try:
                nodes[self._topology.owner(slot_of_key(each))] = None
            except PartUnreachable as error:
                errors[str(error)] = error
        return [*self._silent(seconds, nodes), *errors.values()]

    def _silent(self, seconds: float, nodes: Iterable[Address]) -> list[ServerUnreachable]:
        errors: list[ServerUnreachable] = []
        for node in nodes:
            try:
                self._ask_node(node, seconds)
            except ServerUnreachable as error:
                self._topology.doubt(node)
                errors.append(part_of(error))
        return errors

    def _ask_node(self, node: Address, seconds: float) -> None:
        # It notes itself what it has tried in vain. What it only remembers mustn't be noted: it would be believed for
        # ever, as it is asked again before that time is over.
        link = self.lend(node)
        try:
            link.ask(seconds)
        except ServerUnreachable as error:
            self._away.note(node, error)
            raise

    def send(self, commands: Sequence[Command]) -> None:
        """Refuse: the replies of several nodes have no order."""
        del commands
        raise RuntimeError(
            f"{self!r} can't send without waiting: open a link with the key that the commands are about."
        )

    def lend(self, node: Address) -> OpenLink:
        """Return a connected link to a node, for one exchange. Raises `ServerUnreachable`: nothing was sent."""
        if not self._open:
            raise self._endpoint.unreachable("the link is closed; nothing was sent.")
        link = self._links.get(node)
        if link is not None and link.usable:
            return link
        if link is not None:
            link.close()
        self._away.check(node)
        link = self._links[node] = _NodeLink(self._endpoint.at(node), self._timeout)
        try:
            link.connect()
        except ServerUnreachable as error:
            self._away.note(node, error)
            raise
        self._away.forget(node)
        self._reconnected = True
        return link

    def answered_by(self, node: str) -> float | None:
        """Return when that was sent which a node has answered last; None where it isn't connected to it.

        Of a node that has no slots any more, others have answered; where no node has any, nobody has.
        """
        try:
            masters = self._topology.masters()
        except ServerUnreachable:
            return None
        address = next((each for each in masters if place(each) == node), None)
        if address is None:
            return self.answered
        link = self._links.get(address)
        return None if link is None or not link.connected else link.answered

    def take_reconnected(self) -> bool:
        """Return whether it has connected to a node since this was asked: the first time, or after a loss."""
        reconnected, self._reconnected = self._reconnected, False
        return reconnected

    def take_back(self, node: Address, link: OpenLink) -> None:
        """Keep a link for the next exchange."""
        del node
        self.answered = max(self.answered, link.answered)

    @property
    def _each(self) -> Sequence[_NodeLink]:
        return list(self._links.values())
