"""Settling: what an outcome does on the server. One command acknowledges up to a hundred entries of a batch.

Any other outcome takes a command for each entry.

Every command here may be sent twice: what was settled already is found settled, and nothing is copied again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...outcomes import Ack, DeadLetter, Outcome, RetryLater
from ...wire import RedeliveryMetadata, attach_metadata
from ..scripts import Command, script
from .delivery import Delivery
from .limits import slots_key
from .membership import Membership

__all__ = ["SettleCommands", "settle_commands", "vanish_command"]

SettleCommands = list[tuple[Command, list[Delivery]]]
# Lua can hand about 8,000 values to one command; a hundred keep any script short.
_ACKS_AT_ONCE = 100


def settle_commands(membership: Membership, ended: Sequence[Delivery]) -> SettleCommands:
    """Return the commands that settle these deliveries as their outcomes say, each with what it settles."""
    commands: SettleCommands = []
    acks: dict[tuple[str, str], list[Delivery]] = {}
    for outcome, key, alike in _alike(ended):
        if isinstance(outcome, Ack):
            acks.setdefault((key, outcome.total), []).extend(alike)
        else:
            commands += [(_failure_command(membership, each, outcome), [each]) for each in alike]
    for (key, total), batch in acks.items():
        for begin in range(0, len(batch), _ACKS_AT_ONCE):
            part = batch[begin : begin + _ACKS_AT_ONCE]
            ids = [delivery.entry_id for delivery in part]
            commands.append((_ack(membership, key, total, ids), part))
    return commands


def _alike(ended: Sequence[Delivery]) -> Iterator[tuple[Outcome, str, Sequence[Delivery]]]:
    """Yield deliveries with their outcome and stream, together if all have the same, as most batches do."""
    if not ended:
        return
    outcome, key, count = ended[0].outcome, ended[0].key, len(ended)
    assert outcome is not None
    outcomes = [each.outcome for each in ended]
    if outcomes.count(outcome) == count == [each.key for each in ended].count(key):
        yield outcome, key, ended
        return
    for each in ended:
        assert each.outcome is not None
        yield each.outcome, each.key, (each,)


def vanish_command(membership: Membership, key: str, entry_id: str) -> Command:
    """Acknowledge an entry that is pending and has no body: nobody can run it."""
    return _ack(membership, key, "vanished", [entry_id])


def _ack(membership: Membership, key: str, total: str, ids: list[str]) -> Command:
    group = membership.group.name
    return script("ack")(
        [key, membership.keys.totals(group), membership.keys.suspects(group), *slots_key(membership)],
        group, _delete_entry(membership, key), total, " ".join(ids),
    )  # fmt: skip


def _failure_command(membership: Membership, delivery: Delivery, outcome: RetryLater | DeadLetter) -> Command:
    keys, group = membership.keys, membership.group.name
    names = [delivery.key, keys.totals(group)]
    place = [group, membership.consumer, delivery.entry_id, _delete_entry(membership, delivery.key)]
    fields = attach_metadata(_failed(delivery.history(), outcome), delivery.fields)
    if isinstance(outcome, DeadLetter):
        return script("dead_letter")([*names, keys.dlq, keys.suspects(group), *slots_key(membership)], *place, *fields)
    return script("retry")(
        [
            *names, keys.retry(group), keys.retry_entries(group), keys.suspects(group),
            keys.notices, keys.promoter, *slots_key(membership),
        ],
        *place, delivery.token, round(outcome.delay * 1000), delivery.origin.lane, *fields,
    )  # fmt: skip


def _delete_entry(membership: Membership, key: str) -> str:
    return "1" if membership.is_redelivery(key) else "0"


def _failed(history: RedeliveryMetadata, outcome: RetryLater | DeadLetter) -> RedeliveryMetadata:
    now = time.time_ns() // 1_000_000
    counted = isinstance(outcome, DeadLetter) or outcome.counted
    unavailable = isinstance(outcome, RetryLater) and outcome.unavailable
    return replace(
        history,
        attempt=history.attempt + counted,
        handler=outcome.failure.handler,
        reason=str(outcome.reason) if isinstance(outcome, DeadLetter) else "",
        error=outcome.failure.error,
        traceback=outcome.failure.traceback,
        first=history.first or now,
        last=now,
        unavailable_since=(history.unavailable_since or now) if unavailable else 0,
    )
