"""Sending commands to the nodes that have their keys, all at once, and again where a node hasn't executed them.

A node answers MOVED where it hasn't the slot, ASK where it has given the key away already, TRYAGAIN where it has given
away some of a command's keys, and CLUSTERDOWN where it doesn't serve: in each case it has executed nothing, so the
command is sent again, a few times. A command whose connection is lost is never sent again.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from redis.exceptions import ResponseError

from ...exceptions import ServerUnreachable
from ..addresses import Address, place
from ..link import Command, Link, OpenLink
from ..refusals import ClusterDown, OnNoNode, OnOtherNode, PartUnreachable, moves, part_of
from .slots import slot_of, slot_of_key
from .topology import Topology

__all__ = ["Routing"]

T = TypeVar("T")

# In seconds: before a command is sent once more that was refused because of a change in the cluster.
_PAUSES: Final = (0.0, 0.0, 0.03, 0.07, 0.1)
_ASKING: Final = ("ASKING",)


@dataclass(slots=True)
class _Item:
    """A command that is to be sent, or was; it belongs to the keys of a `slot`, without one to `node`.

    `asked` is the node that takes it by way of exception, as the slot is on its way there. Of a WAIT, `counts` is
    whether the node of its reply has executed something that it waits for.
    """

    number: int
    command: Command
    slot: int | None
    node: Address | None = None
    asked: Address | None = None
    reply: Any = None
    counts: bool = False


class Routing(Link):
    """Exchanges commands with the nodes of a cluster.

    A node that can't be reached fails its own commands: in the place of a reply stands `PartUnreachable`, which is
    raised where no node has answered. What names no key goes where the command before it goes, or the next one.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    @abstractmethod
    def lend(self, node: Address) -> OpenLink:
        """Return a connected link to a node, for one exchange. Raises `ServerUnreachable`: nothing was sent."""

    @abstractmethod
    def take_back(self, node: Address, link: OpenLink) -> None:
        """Take a link back after the exchange; one that was lost has closed itself."""

    def call_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send some commands at once and return the replies; an error reply stands in its place, as an exception."""
        return self.call_many_at(commands, None)

    def call_many_at(self, commands: Sequence[Command], node: Address | None) -> list[Any]:
        """Do so; what names no key goes to this node, if one is given."""
        items = self._items(commands, node)
        self._settle(items)
        replies = [each.reply for each in items]
        if replies and all(isinstance(each, PartUnreachable) for each in replies):
            raise replies[0]
        return replies

    def call_in_turns(self, batches: Iterable[Sequence[Command]]) -> Generator[list[Any], None, None]:
        """Do as `call_many` for each of some batches, all of them for one stream, in turns with its node."""
        sent: deque[list[_Item]] = deque()

        def noted() -> Iterator[Sequence[Command]]:
            for commands in rest:
                sent.append(self._items(commands, None))
                yield commands

        rest = iter(batches)
        for first in rest:
            # The first one finds out where the slot is.
            yield self.call_many(first)
            node = self._owner(self._items(first, None)[0])
            link = self._lent(node)
            try:
                with closing(link.call_in_turns(noted())) as turns:
                    for replies in turns:
                        items = sent.popleft()
                        self._settle(items, self._answered(node, items, replies))
                        yield [each.reply for each in items]
            except ServerUnreachable as error:
                self._topology.doubt(node)
                raise part_of(error) from error
            finally:
                self.take_back(node, link)

    def by_node(self, items: Sequence[T], key: Callable[[T], str]) -> Iterable[tuple[Link, Sequence[T]]]:
        """Yield each node that has some of these items, with those. Raises `ServerUnreachable`.

        Those that no node has come with any: what is sent about them fails by itself.
        """
        found: dict[Address, list[T]] = {}
        for each in items:
            try:
                node = self._topology.owner(slot_of_key(key(each)))
            except PartUnreachable:
                node = self._topology.masters()[0]
            found.setdefault(node, []).append(each)
        return [(_AtNode(self, node), theirs) for node, theirs in found.items()]

    def at(self, key: str) -> Link:
        """Return what sends to the node that has a key what names none. Raises `ServerUnreachable`."""
        return _AtNode(self, self._topology.owner(slot_of_key(key)))

    def of_node(self, node: str) -> Link:
        """Return what sends to one node what names no key. Raises `PartUnreachable` for one that has no slots."""
        known = {place(each): each for each in self._topology.masters()}
        if node not in known:
            gone = self._topology.endpoint.unreachable(f"the node {node} has no slots any more; nothing was sent.")
            raise part_of(gone)
        return _AtNode(self, known[node])

    def each_node(self) -> Sequence[Link]:
        """Return what sends to each node that has slots what names no key. Raises `ServerUnreachable`."""
        return [_AtNode(self, each) for each in self._topology.masters()]

    def _items(self, commands: Sequence[Command], node: Address | None) -> list[_Item]:
        slots = [slot_of(each) for each in commands]
        slot = next((each for each in slots if each is not None), None)
        items = []
        for number, (command, own) in enumerate(zip(commands, slots, strict=True)):
            # A WAIT beside a key goes where that goes, also if its slot has just left the node.
            if own is None and node is not None and (command[0] != "WAIT" or slot is None):
                items.append(_Item(number, command, None, node))
                continue
            slot = slot if own is None else own
            items.append(_Item(number, command, slot))
        return items

    def _settle(self, items: Sequence[_Item], left: Sequence[_Item] | None = None) -> None:
        """Exchange these until each has a reply; if some are `left` of a first exchange, only these."""
        left = items if left is None else _once_more(items, left)
        for pause in (*_PAUSES, None):
            if not left:
                return
            again = self._exchanged(left)
            if not again or pause is None:
                break
            if pause:
                time.sleep(pause)
            left = _once_more(items, again)
        for each in again:
            each.reply = self._given_up(each)

    def _exchanged(self, items: Sequence[_Item]) -> list[_Item]:
        """Send each to its node, all at once, and return those that are to be sent again."""
        again: list[_Item] = []
        groups: dict[Address, list[_Item]] = {}
        for each in items:
            try:
                groups.setdefault(self._owner(each), []).append(each)
            except ServerUnreachable as error:
                if each.reply is None and not isinstance(error, PartUnreachable):
                    raise  # nothing was sent yet, and nobody can be asked
                each.reply = part_of(error)
                again.append(each)
        lent: list[tuple[Address, OpenLink, list[_Item]]] = []
        try:
            for node, theirs in groups.items():
                link = self._sent_to(node, theirs, again)
                if link is not None:
                    lent.append((node, link, theirs))
            while lent:
                node, link, theirs = lent[-1]
                try:
                    again += self._received(node, link, theirs)
                finally:
                    lent.pop()
                    self.take_back(node, link)
        finally:
            # If it is ended in between, by Ctrl-C say, the next exchange would take these replies for its own.
            for node, link, _ in lent:
                link.close()
                self.take_back(node, link)
        return again

    def _owner(self, item: _Item) -> Address:
        if item.asked is not None:
            return item.asked
        if item.slot is None:
            return item.node or self._topology.masters()[0]
        return self._topology.owner(item.slot)

    def _lent(self, node: Address) -> OpenLink:
        try:
            return self.lend(node)
        except ServerUnreachable as error:
            self._topology.doubt(node)
            if isinstance(error, PartUnreachable):
                raise
            raise part_of(error) from error

    def _sent_to(self, node: Address, items: Sequence[_Item], again: list[_Item]) -> OpenLink | None:
        """Return the link on which they were sent; None where the node can't be reached, and another may be by now."""
        try:
            link = self._lent(node)
        except PartUnreachable as error:
            for each in items:
                each.reply, each.asked = error, None
                if each.slot is not None and not self._topology.has(node, each.slot):
                    again.append(each)
            return None
        try:
            link.send([one for each in items for one in ([_ASKING, each.command] if each.asked else [each.command])])
        except ServerUnreachable as error:
            self._lost_at(node, items, error)
            self.take_back(node, link)
            return None
        except BaseException:
            link.close()
            self.take_back(node, link)
            raise
        return link

    def _received(self, node: Address, link: OpenLink, items: Sequence[_Item]) -> list[_Item]:
        try:
            replies = link.receive(sum(2 if each.asked else 1 for each in items))
        except ServerUnreachable as error:
            self._lost_at(node, items, error)
            return []
        found = iter(replies)
        return self._answered(node, items, [next(islice(found, int(each.asked is not None), None)) for each in items])

    def _lost_at(self, node: Address, items: Sequence[_Item], error: ServerUnreachable) -> None:
        self._topology.doubt(node)
        for each in items:
            each.reply = part_of(error)

    def _answered(self, node: Address, items: Sequence[_Item], replies: Sequence[Any]) -> list[_Item]:
        """Note the replies, and return the items that weren't executed and are to be sent again."""
        again: list[_Item] = []
        for each, reply in zip(items, replies, strict=True):
            each.asked = None
            if each.command[0] == "WAIT":
                _note_replicas(each, reply, items, again)
                continue
            each.reply = reply
            try:
                if isinstance(reply, ResponseError) and self._is_elsewhere(node, each, reply):
                    again.append(each)
            except ServerUnreachable as error:  # by ADDRESS_REMAP; what others have executed is known nevertheless
                each.reply = part_of(error)
        overtaken = _overtaken(items, again) if again else ()
        for each in again:
            if each.number in overtaken:
                each.reply = self._given_up(each)
        return [each for each in again if each.number not in overtaken]

    def _is_elsewhere(self, node: Address, item: _Item, error: ResponseError) -> bool:
        """Return whether a node says that it hasn't executed a command for a reason that passes, and learn from it."""
        if isinstance(error, OnOtherNode) and error.redirect is not None:
            address = self._topology.moved(error.redirect, node)
            if error.redirect.ask:
                item.asked = address
            return True
        if isinstance(error, OnNoNode | ClusterDown):
            self._topology.doubt(node)
            return True
        return moves(error)

    def _given_up(self, item: _Item) -> PartUnreachable:
        error = item.reply
        if isinstance(error, PartUnreachable):
            return error
        said = error.said if isinstance(error, OnOtherNode | ClusterDown) else str(error)
        try:
            node = self._owner(item)
        except ServerUnreachable as nobody:
            return part_of(nobody)
        return part_of(
            self._topology.endpoint.at(node).unreachable(f"doesn't serve it now: {said}. It wasn't executed.")
        )


class _AtNode(Link):
    """Sends to one node what names no key, and all else to the nodes that have the keys."""

    def __init__(self, routing: Routing, node: Address) -> None:
        self._routing = routing
        self._node = node

    @property
    def node(self) -> str:
        """The node's address."""
        return place(self._node)

    def call_many(self, commands: Sequence[Command]) -> list[Any]:
        """Send some commands at once and return the replies; an error reply stands in its place, as an exception."""
        return self._routing.call_many_at(commands, self._node)

    def call_in_turns(self, batches: Iterable[Sequence[Command]]) -> Iterator[list[Any]]:
        """Do as `call_many` for each of some batches, all of them for one stream, in turns with its node."""
        return self._routing.call_in_turns(batches)

    def by_node(self, items: Sequence[T], key: Callable[[T], str]) -> Iterable[tuple[Link, Sequence[T]]]:
        """Yield each node that has some of these items, with those."""
        return self._routing.by_node(items, key)

    def at(self, key: str) -> Link:
        """Return what sends to the node that has a key what names none."""
        return self._routing.at(key)

    def of_node(self, node: str) -> Link:
        """Return what sends to one node what names no key."""
        return self._routing.of_node(node)


def _waits_for(item: _Item, other: _Item) -> bool:
    """Return whether it is a WAIT for another one."""
    return item.command[0] == "WAIT" != other.command[0] and other.slot == item.slot and other.number < item.number


def _once_more(items: Sequence[_Item], again: Sequence[_Item]) -> list[_Item]:
    """Return those items that are to be sent again, and each WAIT for one of them, which goes where that one goes."""
    numbers = {each.number for each in again}
    for each in items:
        if each.number in numbers or each.command[0] != "WAIT":
            continue
        if waited_for := [one for one in again if _waits_for(each, one)]:
            each.asked = waited_for[-1].asked
            numbers.add(each.number)
    return [each for each in items if each.number in numbers]


def _overtaken(items: Sequence[_Item], again: Sequence[_Item]) -> set[int]:
    """Return the numbers of entries that, sent again, would come behind later ones of their stream.

    These were appended, as the node began to serve the stream in between.
    """
    numbers = {each.number for each in again}
    appended = {
        each.command[1]: each.number
        for each in items
        if each.command[0] == "XADD" and each.number not in numbers and not isinstance(each.reply, Exception)
    }
    return {
        each.number for each in again if each.command[0] == "XADD" and each.number < appended.get(each.command[1], 0)
    }


def _note_replicas(item: _Item, reply: Any, items: Sequence[_Item], again: Sequence[_Item]) -> None:
    """Note the reply to a WAIT: where what it waits for was executed by several nodes, that of the fewest replicas.

    A node that has executed none of it says nothing about it.
    """
    numbers = {each.number for each in again}
    counts = any(_waits_for(item, each) and each.number not in numbers for each in items)
    if not item.counts:
        item.reply = reply
    elif counts and isinstance(item.reply, int):
        item.reply = min(item.reply, reply) if isinstance(reply, int) else reply
    item.counts = item.counts or counts
