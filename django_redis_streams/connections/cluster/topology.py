"""Which node has a slot: the map of a cluster, shared by all threads, and asked for anew when somebody doubts it.

It is asked of any node that answers, the one that answered last first, and one thread asks for all. While no node
answers, the last map goes on serving: each node says for itself whether it has a slot.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import suppress
from typing import Any, Final, NamedTuple

from redis.exceptions import RedisError, ResponseError

from ...exceptions import ConfigurationError, ServerUnreachable
from ..addresses import Address, place
from ..arguments import where
from ..endpoint import Endpoint
from ..refusals import Redirect, part_of
from ..transport import ask
from .slots import SLOTS

__all__ = ["Topology"]

# In seconds: how soon the map is asked for again where that is doubted, at first and while nothing has changed; where
# no node answered; and after how long a doubt is a new one.
_SOON: Final = 0.05
_LATER: Final = 0.5
_AFTER_FAILURE: Final = 0.3
_NEW: Final = 5.0
# In seconds, at most, for all nodes that are asked for the map, unless the settings allow less for connecting; and for
# each of them at least, however many they are: a node that is busy or far away needs that, with TLS.
_LIMIT: Final = 2.0
_LEAST: Final = 0.3

# So many parts the address of a node has that tells more beside host, port and id.
_TOLD_BESIDE: Final = 4

_all: weakref.WeakSet[Topology] = weakref.WeakSet()


class _Map(NamedTuple):
    """What a node says: who owns each slot, which nodes have slots, whom to ask next, and how many slots it knows."""

    owners: list[Address | None]
    masters: tuple[Address, ...]
    order: tuple[Address, ...]
    known: int


class Topology:
    """The map of one cluster. For any number of threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._lock = threading.Lock()
        # The owner of each slot, None for one that no node has; empty as long as no node was asked.
        self._owners: list[Address | None] = []
        # The nodes that have slots, in the order of those; and whom to ask for the map, in that order.
        self._masters: tuple[Address, ...] = ()
        self._order: tuple[Address, ...] = endpoint.nodes
        # Whether the map may not hold any more, and when it may be asked for again, on the monotonic clock.
        self._doubted = True
        self._next, self._pause = 0.0, _SOON
        # What each node said, where none has answered yet.
        self._failure = ""
        _all.add(self)

    def owner(self, slot: int) -> Address:
        """Return the address of the node that has a slot.

        Raises `PartUnreachable` where no node has it, `ServerUnreachable` where no node can be asked.
        """
        self._look()
        found = self._owners[slot]
        if found is None:
            self.doubt()
            raise part_of(
                self.endpoint.unreachable(
                    f"no node of the cluster has the slot {slot}, as {place(self._order[0])} says; nothing was sent."
                )
            )
        return found

    def has(self, node: Address, slot: int) -> bool:
        """Return whether a node has a slot, as far as is known. Raises `ServerUnreachable` as `owner` does."""
        self._look()
        return self._owners[slot] == node

    def masters(self) -> tuple[Address, ...]:
        """Return the addresses of the nodes that have slots, at least one. Raises `ServerUnreachable`."""
        self._look()
        if not self._masters:
            self.doubt()
            raise self.endpoint.unreachable(f"no node of the cluster has any slot, as {place(self._order[0])} says.")
        return self._masters

    @property
    def last_masters(self) -> tuple[Address, ...]:
        """The addresses of the nodes that had slots when that was last asked: another tuple each time. Asks nobody."""
        return self._masters

    def doubt(self, node: Address | None = None) -> None:
        """Have the map asked for before it is used again; not first of this node, which was lost or is of no use."""
        self._doubted = True
        if node is not None and node in self._order:
            self._order = (*(each for each in self._order if each != node), node)

    def moved(self, redirect: Redirect, said_by: Address) -> Address:
        """Return the address that a node has redirected to; a slot that has moved for good is there from now on.

        Raises `ServerUnreachable` where ADDRESS_REMAP fails.
        """
        address = self._reached((redirect.host or said_by[0], redirect.port), said_by)
        if not redirect.ask:
            if self._owners:
                self._owners[redirect.slot] = address
            # It is the first to know, and others may have moved, too.
            self._order = (address, *(each for each in self._order if each != address))
            self._doubted = True
        return address

    def forked(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def _reached(self, announced: Address, said_by: Address) -> Address:
        assert self.endpoint.remap is not None
        try:
            return self.endpoint.remap(announced)
        except ValueError as error:
            raise self.endpoint.unreachable(f"{place(said_by)} names {place(announced)}; {error}") from None

    def _look(self) -> None:
        if self._is_due():
            with self._lock:
                if not self._is_due():  # another thread may have asked meanwhile
                    return
                if self._failure and time.monotonic() < self._next:  # in vain; or all would, one after the other
                    raise self.endpoint.unreachable(self._failure)
                self._refresh()

    def _is_due(self) -> bool:
        return not self._owners or (self._doubted and time.monotonic() >= self._next)

    def _refresh(self) -> None:
        """Ask for the map. Raises `ServerUnreachable` where no node answers, and there is no map yet.

        One that leaves slots out is taken only where no other node knows more: who says it may have left the cluster.
        One without any isn't taken either while nodes are away that may know more.
        """
        # Before the question: whoever doubts the map while it is asked for knows something newer.
        self._doubted = False
        failures: dict[Address, str] = {}
        best: _Map | None = None
        limit = self.endpoint.arguments.get("socket_connect_timeout", _LIMIT) or _LIMIT
        until = time.monotonic() + limit
        order = self._order
        for left, node in zip(range(len(order), 0, -1), order, strict=True):
            now = time.monotonic()
            if failures and now >= until:  # the others are asked first the next time
                break
            try:
                found = self._learned(node, self._asked(node, now + max((until - now) / left, min(_LEAST, limit))))
            except (RedisError, ServerUnreachable) as error:
                failures[node] = _said(error)
                continue
            if best is None or found.known > best.known:
                best = found
            if best.known == SLOTS:
                break
        if best is not None and (best.masters or not (failures and self._masters)):
            self._plan(changed=best.owners != self._owners)
            self._owners, self._masters, self._order = best.owners, best.masters, best.order
            self._failure = ""
            return
        self._next = time.monotonic() + _AFTER_FAILURE
        self._doubted = True
        self._order = tuple(sorted(self._order, key=lambda node: node in failures))
        if not self._owners:
            said = " ".join(f"{place(each)} {text.rstrip('.')}." for each, text in failures.items())
            self._failure = f"no node says which node has which slots. {said}"
            raise self.endpoint.unreachable(self._failure)

    def _plan(self, *, changed: bool) -> None:
        """Decide when the map may be asked for again: a master that is away for long would have it asked for ever."""
        now = time.monotonic()
        grows = not changed and now - self._next < _NEW
        self._pause = min(_LATER, 2 * self._pause) if grows else _SOON
        self._next = now + self._pause

    def _asked(self, node: Address, until: float) -> Any:
        connection = self.endpoint.at(node).connect(self.endpoint.timeout, until)
        try:
            return ask(connection, "CLUSTER", "SLOTS")
        except ResponseError as error:
            if "cluster support disabled" not in str(error):
                raise
            said = f"{place(node)} isn't a node of a cluster ({error})."
            if self._owners:  # another server has got the address of a node that has left
                raise RedisError(said) from None
            raise ConfigurationError(
                f"{where(self.endpoint.alias)}: {said} Let URL begin with redis:// or rediss:// for a single server."
            ) from None
        finally:
            connection.disconnect()

    def _learned(self, node: Address, reply: Any) -> _Map:
        """Return what CLUSTER SLOTS says: first slot, last slot, the master's host, port and id, its replicas."""
        owners: list[Address | None] = [None] * SLOTS
        masters: dict[Address, None] = {}
        replicas: dict[Address, None] = {}
        known = 0
        try:
            for first, last, master, *others in reply:
                address = self._announced(master, node)
                owners[first : last + 1] = [address] * (last + 1 - first)
                known += last + 1 - first
                masters[address] = None
                for each in others:
                    with suppress(ServerUnreachable):
                        replicas[self._announced(each, node)] = None
        except (TypeError, ValueError, IndexError) as error:
            raise RedisError(f"answered CLUSTER SLOTS by what can't be understood: {error}") from None
        order = tuple(dict.fromkeys([node, *masters, *replicas, *self.endpoint.nodes]))
        return _Map(owners, tuple(masters), order, known)

    def _announced(self, node: Any, said_by: Address) -> Address:
        host, port = node[0], node[1]
        if host == "?":  # it has no name for clients; its IP address stands beside
            host = _beside(node).get("ip")
        # It may leave hosts out: then they are where it is itself.
        return self._reached((said_by[0] if host in (None, "", "?") else str(host), int(port)), said_by)


def _beside(node: Any) -> dict[str, Any]:
    """Return what CLUSTER SLOTS says about a node beside its address: nothing before Redis 7.0."""
    told = node[3] if len(node) == _TOLD_BESIDE else ()
    return dict(zip(told[::2], told[1::2], strict=False))


def _said(error: Exception) -> str:
    text = str(error)
    if isinstance(error, ResponseError):
        return f"refuses to say it ({text}): allow the user of the connection CLUSTER SLOTS"
    return f"can't be asked ({text})"


def _renew_locks() -> None:
    for each in list(_all):
        each.forked()


os.register_at_fork(after_in_child=_renew_locks)
