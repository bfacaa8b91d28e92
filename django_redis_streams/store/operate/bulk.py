"""What the server answered to an operation on many messages at once.

They are sent in parts, so no part holds up the server. A message that is refused holds up none of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from ...exceptions import ServerUnreachable, StreamsError

__all__ = ["Answers", "run_in_chunks"]

_AT_ONCE: Final = 100

I = TypeVar("I", bound=Hashable)  # noqa: E741  identity
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Answers(Generic[I]):
    """What was `done`; what was `refused`, and why; and what was sent and stayed `unanswered`.

    Those may or may not have been carried out: the server was lost. Asking again is safe.
    """

    done: tuple[I, ...] = ()
    refused: Mapping[I, StreamsError] = field(default_factory=dict)
    unanswered: tuple[I, ...] = ()


def run_in_chunks(
    identities: Sequence[I],
    prepare: Callable[[Sequence[I]], Sequence[P | StreamsError]],
    send: Callable[[Sequence[P]], Sequence[Any]],
    *,
    gone: str,
) -> Answers[I]:
    """Run an operation once for each of these, whatever becomes of the others.

    `prepare` returns what `send` needs for each, or why it is refused; it may ask the server, and changes nothing.
    Where that were too much at once, it returns it for the first of them, and is asked again for the others.
    `send` returns a reply for each: true where it was done, false where the message was gone, which is refused with the
    text `gone`, or an error reply.
    """
    done: list[I] = []
    refused: dict[I, StreamsError] = {}
    waiting = list(dict.fromkeys(identities))
    while waiting:
        part, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
        try:
            prepared = dict(zip(part, prepare(part), strict=False))
        except ServerUnreachable as error:
            return Answers(tuple(done), {**refused, **dict.fromkeys([*part, *waiting], error)})
        waiting = [*part[len(prepared) :], *waiting]
        refused.update((each, why) for each, why in prepared.items() if isinstance(why, StreamsError))
        ready = {each: what for each, what in prepared.items() if not isinstance(what, StreamsError)}
        try:
            replies = send(list(ready.values())) if ready else []
        except ServerUnreachable as error:
            return Answers(tuple(done), {**refused, **dict.fromkeys(waiting, error)}, tuple(ready))
        for each, reply in zip(ready, replies, strict=True):
            if isinstance(reply, Exception):
                refused[each] = StreamsError(str(reply))
            elif not reply:
                refused[each] = StreamsError(gone)
            else:
                done.append(each)
    return Answers(tuple(done), refused)
