"""Signals that tell what became of a message, if they have receivers."""

from __future__ import annotations

from dataclasses import dataclass

from ... import signals
from ...message import Message
from ...outcomes import Ack, DeadLetter, Outcome, RetryLater
from ...store.consume.delivery import Delivery
from ..strays import leave_if_stray

__all__ = ["Run", "send_signals"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run, for the receivers: the handler's dotted name ("" if there was none), and the seconds that it took."""

    message: Message
    handler: str = ""
    duration: float = 0.0
    error: BaseException | None = None


def send_signals(delivery: Delivery) -> None:
    """Tell receivers what became of a message, if its run was noted because there were receivers when it ran."""
    if isinstance(delivery.run, Run):
        try:
            _send_signals(delivery.run, delivery.outcome)
        finally:
            leave_if_stray()


def _send_signals(run: Run, outcome: Outcome | None) -> None:
    about_run = {"handler": run.handler, "duration": run.duration}
    if run.error is not None:
        fate = "retry" if isinstance(outcome, RetryLater) else "dead letter"
        signals.send(signals.message_failed, run.message, **about_run, error=run.error, outcome=fate)
    elif isinstance(outcome, Ack):
        signals.send(signals.message_processed, run.message, **about_run)
    if isinstance(outcome, DeadLetter):
        signals.send(
            signals.message_dead_lettered, run.message,
            handler=run.handler, reason=outcome.reason, error=outcome.failure.error,
        )  # fmt: skip
