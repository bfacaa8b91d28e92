"""Signals that tell what became of a message, if they have receivers."""

from __future__ import annotations

from dataclasses import dataclass

from ... import signals
from ...message import Message
from ...outcomes import Ack, DeadLetter, Outcome, RetryLater
from ...store.consume.delivery import Delivery
from ...wire import decode_as_foreign
from ..strays import leave_if_stray

__all__ = ["Run", "send_failed", "send_signals", "undecoded"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run, for the receivers: the handler's dotted name ("" if there was none), and the seconds that it took."""

    message: Message
    handler: str = ""
    duration: float = 0.0
    error: BaseException | None = None


def undecoded(delivery: Delivery) -> Run:
    """Return what receivers are told of a delivery that can't be decoded, or mustn't be: its fields as they are."""
    return Run(decode_as_foreign(delivery.origin, delivery.published_id, delivery.fields, delivery.metadata))


def send_signals(delivery: Delivery) -> None:
    """Tell receivers what became of a message, if its run was noted because there were receivers when it ran."""
    if isinstance(delivery.run, Run):
        try:
            _send_signals(delivery.run, delivery.outcome)
        finally:
            leave_if_stray()


def send_failed(run: Run, *, retried: bool) -> None:
    """Tell receivers of a run that has failed, and whether its message is run again."""
    fate = "retry" if retried else "dead letter"
    try:
        signals.send(
            signals.message_failed, run.message,
            handler=run.handler, duration=run.duration, error=run.error, outcome=fate,
        )  # fmt: skip
    finally:
        leave_if_stray()


def _send_signals(run: Run, outcome: Outcome | None) -> None:
    if run.error is not None:
        send_failed(run, retried=isinstance(outcome, RetryLater))
    elif isinstance(outcome, Ack):
        signals.send(signals.message_processed, run.message, handler=run.handler, duration=run.duration)
    if isinstance(outcome, DeadLetter):
        signals.send(
            signals.message_dead_lettered, run.message,
            handler=run.handler, reason=outcome.reason, error=outcome.failure.error,
        )  # fmt: skip
