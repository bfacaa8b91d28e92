"""What a consumer runs right now, for those who look at it from another thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...handlers import Handler, HandlerSet
from ...wire import Undecodable
from ..shared.scoreboard import Slots

__all__ = ["RunningCall", "call_in_thread"]


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call of a handler that goes on since `began`, on the monotonic clock.

    It is for so many `messages`; `message_id` is the id of the first.
    """

    handler: Handler
    message_id: str
    began: float
    messages: int


def call_in_thread(
    handlers: HandlerSet, slots: Slots, look: Callable[[], tuple[Sequence[Any], float]]
) -> Iterator[RunningCall]:
    """Yield the call that the consumer's thread is in, if any.

    `look` returns the messages that stand on the slots, and when the call began if there is one. Its first slot says
    with which of them. What is seen counts if a second look sees the same: then no other call has begun in between.
    """
    if slots.rests:  # as hundreds of consumers mostly do
        return
    messages, began = look()
    runs = slots.thread_runs()
    if not runs or runs[0] >= len(messages):
        return
    message = messages[runs[0]]
    handler = None if isinstance(message, Undecodable) else handlers.find(message.type)
    again, began_again = look()
    if handler is not None and again is messages and began_again == began and slots.thread_runs() == runs:
        yield RunningCall(handler, message.id, began, len(runs))
