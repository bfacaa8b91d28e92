"""What `drain` sends of the outbox: in a test there is no relay, and nobody whose turn it could be before."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from django.db import connections as databases

from .. import conf, connections
from ..exceptions import ServerRefused
from ..outbox.presence import TABLE, declared, is_installed
from ..querying import exactly, has_table

__all__ = ["send_unsent"]

_AT_ONCE: Final = 500


def send_unsent(aliases: Collection[str]) -> int:
    """Send all that waits in outboxes for the servers of these connections, due or not; return how many there were.

    Raises `ServerUnreachable`, and `ServerRefused` for a message that the server or the settings don't take.
    """
    waiting = {conf.stream(name).connection for name in declared()} & {*aliases}
    if not is_installed() or not waiting:
        return 0
    return sum(_sent(using, alias) for using in _usable() for alias in sorted(waiting))


def _usable() -> Iterator[str]:
    """Yield the databases with the table, without those that the test may not use, and those that take no query."""
    # Models can't be imported where their app isn't installed.
    from ..outbox.databases import aliases  # noqa: PLC0415

    for using in aliases():
        try:
            usable = not databases[using].needs_rollback and has_table(using, TABLE)
        except (AssertionError, RuntimeError):
            # Django raises the one, pytest-django the other in a test that has no access: it has written no row.
            usable = False
        if usable:
            yield using


def _sent(using: str, alias: str) -> int:
    # As above.
    from ..outbox.batch import Batch  # noqa: PLC0415
    from ..outbox.rows import DueRow  # noqa: PLC0415
    from ..outbox.standing import unsent  # noqa: PLC0415

    streams, sent = conf.get().streams_of(alias), 0
    while True:
        rows = unsent(using).filter(exactly("stream", streams)).order_by("pk").values_list(*DueRow._fields)[:_AT_ONCE]
        batch = Batch(using, streams, [DueRow(*row) for row in rows])
        lost = batch.send(connections.get(alias))
        batch.settle()
        batch.tell()
        if lost is not None:
            raise lost
        for row, error in batch.refused:
            raise ServerRefused(f"Message {row.message_id} of the outbox can't be sent to {row.stream!r}: {error}")
        if not batch.sent:
            return sent
        sent += len(batch.sent)
