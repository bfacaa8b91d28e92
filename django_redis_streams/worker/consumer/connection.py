"""A consumer's connection, and what has to be done on a new one before the consumer reads.

Whatever the server or the network does ends in a log line, a wait that gets longer, and another try: never
in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from redis.exceptions import ResponseError

from ... import connections
from ...connections import Link, OpenLink
from ...connections.refusals import ClusterDown, OnOtherNode
from ...exceptions import ConfigurationError, ServerUnreachable
from ...store.consume.connection import Client, begin_session, check_keys
from ...store.consume.groups import Deletion, abandoned_groups, began_after, make_group
from ...store.consume.membership import Membership
from ...store.replies import group_is_gone
from ..log.lines import about, log_made_anew, log_perhaps_renamed, logger
from ..log.recurring import log_refusal
from ..log.unreachable import log_reached, log_unreachable
from ..shared.counters import ConsumerCounters
from ..shared.joined import Joined
from ..strays import leave_if_stray
from ..timing import Timing
from .waking import Waking

__all__ = ["ConsumerConnection"]


class ConsumerConnection:
    """One consumer's connection, made anew when lost. While one is being opened, that stands in the `counters`.

    `wait` waits for some seconds, or until the consumer is to stop. `resume` is called with each new link before
    anybody else has it: it settles again and renews. If the connection isn't `patient`, it raises what goes wrong.

    A server that is a node of a cluster, and hasn't all keys of the stream, is no server to wait for: then it raises
    `ConfigurationError`; so it does once a cluster was down for too long.

    At a stop another thread may `cut` it, where a reply is late, and `give_up`: then no other is made.

    `deleted` says that the group was deleted on purpose while this worker, which has `joined` it, was running: it is
    not made again, and there is nothing more to do for it.
    """

    def __init__(
        self,
        membership: Membership,
        wait: Callable[[float], object],
        resume: Callable[[OpenLink], None],
        *,
        counters: ConsumerCounters,
        joined: Joined,
        timing: Timing,
        patient: bool,
    ) -> None:
        self.deleted: Deletion | None = None
        self.since: float | None = None
        self.has_read = False
        # Whether the last step succeeded.
        self.well = False
        self.waking = Waking()
        self._counters = counters
        self._joined = joined
        # Longer than a read waits, so that an idle connection isn't taken for a lost one. The heartbeat finds a silent
        # server sooner.
        self._timeout = timing.block + timing.reply_timeout
        self._timing = timing
        # Since when the server says that its cluster is down, on the monotonic clock; None where it doesn't.
        self._down_since: float | None = None
        # Why the server is no server to wait for.
        self._unfit: ConfigurationError | None = None
        self._membership, self._patient = membership, patient
        self._pause, self._resume = wait, resume
        self._link: OpenLink | None = None
        # The link that is open, and isn't ready for the consumer yet.
        self._new: OpenLink | None = None
        self.given_up = False
        # For how many seconds the server may still serve a read of the connection before this one.
        self.block_before = 0.0
        self._client: Client | None = None
        # The nodes of a cluster that it couldn't reach, or that didn't serve it, since it last succeeded.
        self._failed_on: set[str] = set()
        self._backoff = timing.backoff(least=0.05, most=min(5.0, membership.group.claim_idle / 6))

    @property
    def connected(self) -> bool:
        """Whether there is a link, as far as is known."""
        return self._link is not None and self._link.connected

    @property
    def node(self) -> str:
        """The node of a cluster that it is connected to; "" for a single server, or where it isn't. For any thread."""
        link = self._new or self._link
        return "" if link is None else link.node

    def doubt(self) -> None:
        """Count the connection as good since now only; any thread may call this."""
        if self.since is not None:
            self.since = time.monotonic()

    def wake(self, link: Link) -> None:
        """End this connection's blocked read, or keep the next one from blocking; by another link, for any thread.

        So the consumer looks again at all that it looks at before and behind a read.
        """
        self.waking.wake(link)

    @property
    def block(self) -> float:
        """How many seconds a read waits for the first message: long only where it can be woken."""
        return self._block_of(self._client)

    def _block_of(self, client: Client | None) -> float:
        timing = self._timing
        return timing.block if client is not None and client.wakeable else min(timing.block, timing.unwoken)

    @property
    def waits_since(self) -> float | None:
        """Since when it waits for a reply, on the monotonic clock; None where none is owed. For any thread."""
        link = self._new or self._link
        return None if link is None else link.waits_since

    @property
    def opens_since(self) -> float | None:
        """Since when a connection is being opened, which nobody can cut; None where none is. For any thread."""
        return self._counters.opens_since

    def cut(self) -> None:
        """Count a reply that is owed as lost; for any other thread."""
        link = self._new or self._link
        if link is not None:
            link.cut()

    def give_up(self) -> None:
        """Count the server as away for good; for any other thread."""
        self.given_up = True
        self.cut()

    def link(self) -> OpenLink:
        """Return the link; connect now if there is none, or if the server has closed it as idle.

        Raises `ServerUnreachable`, and `ConfigurationError` once the server was found to be no server to wait for.
        """
        if self._unfit is not None:
            raise self._unfit
        if self._link is None or not self._link.usable:
            self.close()
            self._link = self._connect()
        return self._link

    def close(self) -> None:
        """Let go of the connection."""
        self.since = None
        self.waking.client = None
        if self._link is not None:
            self._link.close()
            self._link = None

    def attempt(self, step: Callable[[OpenLink], None]) -> None:
        """Do a step of the consumer's. If it goes wrong, log that and wait; if the group is gone, make it.

        Raises `ConfigurationError` for a node of a cluster.
        """
        try:
            step(self.link())
        except ServerUnreachable as error:
            self.close()
            if error.was_idle:
                # The server may have closed this connection alone. The next step finds out, by connecting again.
                return
            if error.moved and self.well:
                # No outage either, unless it goes on.
                self.well = False
                return
            self._raise_if_impatient(error)
            log_unreachable(self._membership.stream.connection, error)
            self._failed_on.add(error.node)
            self._pause(self._backoff.more())
        except OnOtherNode as error:
            raise self._unworkable(error) from None
        except ResponseError as error:
            # If it is gone again while it is made, that is waited for, too.
            if group_is_gone(error) and step != self.make_group:
                self.attempt(self.make_group)
            else:
                self._refused(error)
        else:
            self._reached(0.0 if self._link is None else self._link.answered)
            self._backoff.reset()
            self._down_since = None
            self.well = True

    def _reached(self, answered: float) -> None:
        alias = self._membership.stream.connection
        log_reached(alias, answered)
        if self._failed_on:
            for node in self._failed_on:
                log_reached(alias, answered, node)
            self._failed_on.clear()

    def _open(self) -> OpenLink:
        self._counters.opens_connection()
        try:
            if not self.given_up:
                stream = self._membership.stream
                return connections.open(stream.connection, timeout=self._timeout, key=stream.keys.main)
        finally:
            self._counters.opened_connection()
        raise ServerUnreachable(f"{self._membership.label} was given up, because its server didn't answer in time.")

    def _connect(self) -> OpenLink:
        leave_if_stray()
        link = self._new = self._open()
        try:
            before, self._client = self._client, begin_session(link, self._client)
            self.block_before = 0.0 if before is None else self._block_of(before)
            check_keys(link, self._membership.stream)
            # The first read doesn't block: its end says that all is well again.
            self.waking.mark()
            self.make_group(link)
            if self.deleted is None:
                self._resume(link)
        except BaseException as error:
            link.close()
            if isinstance(error, OnOtherNode):
                raise self._unworkable(error) from None
            raise
        finally:
            self._new = None
        self.waking.client = self._client
        self.since = time.monotonic()
        return link

    def make_group(self, link: Link) -> None:
        """Make the group if it is missing, by any link, and log that if it was there before.

        It begins where its record says. If the record is gone, too, and this consumer has read the group, it begins at
        0: what it was given may not be settled. A group that was deleted on purpose after the worker joined it stays
        deleted; one deleted before is made at its START.
        """
        if self.deleted is not None:
            return
        label = self._membership.label
        joined = label in self._joined
        # Asked before: where another thread makes the group, the consumer may read it before this goes on.
        has_read = self.has_read
        start = "0" if has_read else self._membership.group.start
        made, deleted = make_group(link, self._membership, start, anew=not joined)
        if deleted is not None and joined:
            self.deleted = deleted
            return
        self._joined.add(label)
        if deleted is not None:
            log_made_anew(self._membership, deleted)
        elif made and has_read:
            logger.error(
                "%s was missing on the server and was created again. Messages may be delivered twice.",
                label, extra=about(self._membership),
            )  # fmt: skip
        elif made and (others := abandoned_groups(link, self._membership.stream)):
            log_perhaps_renamed(self._membership, began_after(link, self._membership), others)

    def _refused(self, error: ResponseError) -> None:
        self._raise_if_impatient(error)
        if isinstance(error, ClusterDown):
            self._down_since = self._down_since or time.monotonic()
            if time.monotonic() - self._down_since > self._timing.cluster_down:
                raise self._unworkable(error)
        wait, label = self._backoff.more(), self._membership.label
        log_refusal(
            (label,), str(error), "%s was refused by the server. The next try is in %.1f s: %r (%d times)", label, wait,
            extra=about(self._membership),
        )  # fmt: skip
        self._pause(wait)

    def _unworkable(self, error: ResponseError) -> ConfigurationError:
        """Return the error to raise from now on: no other connection to this server is of any use."""
        label, alias = self._membership.label, self._membership.stream.connection
        self._unfit = ConfigurationError(f"{label}, connection {alias!r}: {error}")
        return self._unfit

    def _raise_if_impatient(self, error: Exception) -> None:
        self.well = False
        if not self._patient:
            raise error
