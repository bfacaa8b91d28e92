"""Deletes rows of the inbox that are older than INBOX_RETENTION.

Every process does it for the groups that it serves. Two at once are safe: rows that one deletes are left to it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Iterator
from typing import Final

from django.db import Error

from ... import handlers
from ...inbox.presence import is_installed
from ...inbox.rows import delete_old
from ...inbox.running import CLAIMED
from ...store.consume.membership import Membership
from ..execution.databases import Databases
from ..log.lines import about, logger
from ..timing import Timing

__all__ = ["InboxUpkeep"]

# So many rows are deleted in one transaction, which is over soon then.
_AT_ONCE: Final = 1_000


class InboxUpkeep:
    """Looks after the inbox of some groups, in a thread of its own: a database may keep it waiting."""

    def __init__(self, members: Collection[Membership], stop: threading.Event, timing: Timing) -> None:
        self._members = list({each.label: each for each in members}.values())
        self._stop = stop
        self._timing = timing

    def run(self) -> None:
        """Delete what is old, about each minute, until told to stop."""
        if not is_installed():
            return
        databases = Databases()
        while not self._stop.wait(self._timing.clear_inbox * random.uniform(0.8, 1.2)):  # noqa: S311  jitter, not a secret
            databases.watch()  # a pool's stale connections
            try:
                self.step()
            finally:
                databases.close()

    def step(self) -> None:
        """Delete what is old now. An error of a database is logged, and keeps no other group's rows."""
        for member, alias in self._inboxes():
            try:
                deleted = self._delete(member, alias)
            except Error as error:
                logger.warning(
                    "%s: old rows of the inbox in the database %r can't be deleted. The next try is in a minute: %r",
                    member.label, alias, str(error), extra=about(member),
                )  # fmt: skip
            else:
                if deleted:
                    logger.info(
                        "%s: deleted %d rows of the inbox in the database %r, older than %g seconds.",
                        member.label, deleted, alias, member.group.inbox_retention, extra=about(member),
                    )  # fmt: skip

    def _delete(self, member: Membership, alias: str) -> int:
        stream, group, seconds = member.stream.name, member.group.name, member.group.inbox_retention
        deleted, more = 0, _AT_ONCE
        while more == _AT_ONCE and not self._stop.is_set():
            more = delete_old(stream, group, seconds, alias, _AT_ONCE)
            deleted += more
        return deleted

    def _inboxes(self) -> Iterator[tuple[Membership, str]]:
        """Yield each group with each database that handlers of it remember messages in."""
        for member in self._members:
            place = member.stream.name, member.group.name
            yield from ((member, alias) for alias in sorted(_aliases(*place)))


def _aliases(stream: str, group: str) -> Collection[str]:
    by_hand = {alias for alias, *place in CLAIMED.copy() if place == [stream, group]}
    declared = [each for each in handlers.registered() if (each.stream, each.group) == (stream, group)]
    return by_hand | {each.atomic for each in declared if each.once and each.atomic}
