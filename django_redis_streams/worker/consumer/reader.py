"""One round trip a batch: the outcomes of the last batch go out with the read of the next.

Where batches come full and run fast, the read goes out before the batch in hand is run, and its reply is
taken after: the server and the wake-up hide behind the handlers. A claim may go with it: its reply names entries,
whose bodies are read while the next batch is run. Code that needs the link in between takes all replies first, by
`free`. If the link is lost, so are the replies, and what they delivered is found by looking.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError

from ...connections import OpenLink
from ...store.consume.delivery import Delivery
from ...store.consume.groups import paused_command
from ...store.consume.membership import Membership
from ...store.consume.read import HeldBack, await_command, delivered, held_back, read_command, refused
from ...store.consume.settle import SettleCommands
from ...store.scripts import Command, exchange
from .claiming import Claiming
from .waking import Waking

__all__ = ["Reader"]


@dataclass(slots=True)
class _Asked:
    """What was sent, at `since` on the monotonic clock: the commands that settle, then a read of `count` a source.

    With `waits` the read only waits until there is something to read. A `claim` goes before the read.
    """

    commands: SettleCommands
    claim: Command | None
    since: float
    count: int
    read: Command
    waits: bool


@dataclass(slots=True)
class _Named:
    """Claimed messages, this consumer's `since` then: the `reply` that names them, and what reads their bodies."""

    reply: Any
    commands: list[Command]
    since: float
    sent: bool = False

    def send(self) -> list[Command]:
        """Return the commands, and note that they are sent now."""
        self.sent = True
        return self.commands


class Reader:
    """Reads for one consumer.

    `empty`: the last read brought nothing. `full`: it brought all that it asked for. `paused`: the group is paused, as
    the server last said. `held_back`: why a limited group got nothing. `waited`: the last turn only waited for
    something to read. `answered` is called with the commands that settle and their replies; `taken`, with what was read
    and since when it is certainly this consumer's.
    """

    def __init__(
        self,
        membership: Membership,
        answered: Callable[[SettleCommands, Iterable[object]], None],
        claiming: Claiming,
        taken: Callable[[list[Delivery], float], list[Delivery]],
        waking: Waking,
    ) -> None:
        self._membership = membership
        self._answered = answered
        self._claiming = claiming
        self._taken = taken
        self._waking = waking
        # A read by a script is answered with more than entries.
        self._by_script = membership.group.limited or bool(membership.stream.lanes)
        self._paused_command = paused_command(membership.keys, membership.group.name)
        self._asked: _Asked | None = None
        self._named: _Named | None = None
        self._early: list[Delivery] = []
        # Whether the last read found redelivered entries: then each source is asked for half of what is wanted.
        self._redelivered = True
        self.empty = False
        self.full = False
        self.paused = False
        self.held_back: HeldBack | None = None
        self.waited = False

    @property
    def asked(self) -> bool:
        """Whether a reply is on its way."""
        return self._asked is not None

    @property
    def ahead(self) -> bool:
        """Whether a batch is on its way, or was taken before its turn."""
        return self._asked is not None or self._named is not None or bool(self._early)

    def ask(
        self, link: OpenLink, commands: SettleCommands, count: int, block_ms: int | None, claim: Command | None = None
    ) -> None:
        """Send what settles the last batch, and a read of about `count` entries that waits up to `block_ms` for one.

        With lanes it waits only after their script has found nothing in them. A limited group's consumer waits without
        reading, and reads in its next turn. Nobody waits whom another thread has just woken.
        """
        if (self._by_script and not self.empty) or (block_ms is not None and not self._waking.begin()):
            block_ms = None
        since = time.monotonic()
        # The script shares among the sources by itself.
        each = max(1, (count + 1) // 2) if self._redelivered and not self._by_script else count
        held = self.held_back
        waits = block_ms is not None and held is not None and not held.wait_ms
        if block_ms is not None and held is not None and waits:
            read = await_command(self._membership, held.last_ids, block_ms)
        else:
            read = read_command(self._membership, each, block_ms)
        # Whether the group is paused is asked last, so it is answered after the wait. The answer rules the next turn.
        claims = [] if claim is None else [claim]
        bodies = [] if self._named is None else self._named.send()
        link.send([*bodies, *(command for command, _ in commands), *claims, read, self._paused_command])
        self._asked = _Asked(commands, claim, since, each, read, waits)

    def take(self, link: OpenLink) -> list[Delivery]:
        """Return the batch that was asked for; raise the server's error if it refused to read.

        What was claimed with it comes with the next batch: the server looks it up while this one is run.
        """
        self._receive(link)
        if not self._early:
            self.free(link)
        batch, self._early = self._early, []
        return batch

    def free(self, link: OpenLink) -> None:
        """Take the replies that the link owes, so that others may use it."""
        self._receive(link)
        if self._named is not None:
            link.send(self._named.send())
            self._receive(link)

    def _receive(self, link: OpenLink) -> None:
        """Receive all replies on their way. Entries may have been claimed then whose bodies weren't asked for yet."""
        named, asked, error = self._named, self._asked, None
        bodies, unknown = None, []
        if named is not None and named.sent:
            bodies, self._named = link.receive(len(named.commands)), None
        if asked is not None:
            if asked.commands:
                unknown = self._settled(asked.commands, link.receive(len(asked.commands)))
            claim = None if asked.claim is None else link.receive(1)[0]
            reply, paused = link.receive(2)
            self._waking.end()
            self._asked = None
            self._heard(paused)
            error = self._read(asked, reply)
            if claim is not None:
                self._named = _Named(claim, self._claiming.bodies(claim), asked.since)
        if named is not None and bodies is not None:
            # Claimed entries come first, as they were published first.
            self._early[:0] = self._claiming.answered(link, named.reply, bodies, named.since)
        # The scripts were flushed: those that were sent have done nothing.
        if unknown:
            self._answered(unknown, exchange(link, [command for command, _ in unknown]))
        if asked is not None and isinstance(error, NoScriptError):
            (reply,) = exchange(link, [asked.read])
            error = self._read(asked, reply)
        if error is not None:
            raise error

    def _settled(self, commands: SettleCommands, replies: Sequence[object]) -> SettleCommands:
        """Hand on the replies to commands that settle, and return the commands whose scripts the server didn't know."""
        pairs = list(zip(commands, replies, strict=True))
        known = [(each, reply) for each, reply in pairs if not isinstance(reply, NoScriptError)]
        self._answered([each for each, _ in known], [reply for _, reply in known])
        return [each for each, reply in pairs if isinstance(reply, NoScriptError)]

    def _read(self, asked: _Asked, reply: Any) -> Exception | None:
        """Take what a read brought, and return its error, or that of a lane that couldn't be read."""
        if isinstance(reply, Exception):
            return reply
        self.waited = asked.waits
        batch = [] if asked.waits else delivered(self._membership, reply)
        self.held_back = held_back(reply) if self._by_script and not asked.waits else None
        self.empty = not (batch or asked.waits)
        # Never full for a limited group: a batch read ahead would take a share of the limits before it can run.
        self.full = len(batch) >= asked.count and not self._membership.group.limited
        # Redelivered entries are read first.
        self._redelivered = bool(batch) and batch[0].redelivered
        self._early += self._taken(batch, asked.since)
        return refused(reply) if self._by_script and not asked.waits else None

    def look(self, link: OpenLink) -> None:
        """Ask whether the group is paused, without reading."""
        self.free(link)
        (reply,) = link.call_many([self._paused_command])
        self._heard(reply)
        # What came meanwhile is to be read in the order of the lanes.
        self.empty = False

    def _heard(self, reply: object) -> None:
        # If the server refuses to say, what it last said still holds.
        if not isinstance(reply, Exception):
            self.paused = reply is not None

    def forget(self) -> None:
        """Forget what the link owed, because the link is gone."""
        self._waking.end()
        self._asked = self._named = None
