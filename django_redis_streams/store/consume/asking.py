"""One look at many streams or groups of a server: commands are sent together, in pieces that hold up nobody."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from redis.exceptions import ResponseError

from ...connections import Link
from ...connections.refusals import PartUnreachable
from ..scripts import Command, exchange, raise_first

__all__ = ["Answer", "Asking", "ask", "ask_all", "ask_each", "replies_to", "together"]

T = TypeVar("T")

# The replies to what was asked together, or the first error among them.
Answer: TypeAlias = Sequence[Any] | ResponseError

# A step that asks again and again: it yields commands, is sent the replies, errors among them, and returns a result.
Asking: TypeAlias = Generator[Sequence[Command], Sequence[Any], T]

# So many plain commands take a server about a millisecond. A script or a list takes it as long as so many of them.
_AT_ONCE: Final = 300
_LONG: Final = {"EVALSHA": 30, "XINFO": 30}


def ask_each(link: Link, commands: Sequence[Command]) -> list[Any]:
    """Send some commands, and return the reply to each; the server's error stands in its place.

    So does the error of a cluster's node that is away, even if all commands are for that.
    """
    return [reply for piece in _pieces(commands) for reply in _exchanged(link, piece)]


def _exchanged(link: Link, piece: Sequence[Command]) -> Sequence[Any]:
    try:
        return exchange(link, piece)
    except PartUnreachable as error:
        return [error] * len(piece)


def ask(link: Link, asking: Asking[T]) -> T:
    """Let a step ask until it returns, and return that."""
    replies: Any = None
    while True:
        try:
            commands = asking.send(replies)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        replies = ask_each(link, commands)


def together(askings: Sequence[Asking[T]]) -> Asking[list[T]]:
    """Let many steps ask side by side, what they ask at the same time in one; return what each returns."""
    results: dict[int, T] = {}
    replies: dict[int, Any] = dict.fromkeys(range(len(askings)))
    while replies:
        asked: dict[int, Sequence[Command]] = {}
        for number, answer in replies.items():
            try:
                asked[number] = askings[number].send(answer)
            except StopIteration as end:
                results[number] = end.value
        each = iter((yield [command for commands in asked.values() for command in commands]))
        replies = {number: [next(each) for _ in commands] for number, commands in asked.items()}
    return [results[number] for number in range(len(askings))]


def replies_to(commands: Sequence[Command]) -> Asking[Sequence[Any]]:
    """Ask something, and return the replies; raise the first error among them."""
    replies = yield commands
    raise_first(replies)
    return replies


def _pieces(commands: Sequence[Command]) -> Iterator[Sequence[Command]]:
    piece: list[Command] = []
    weight = 0
    for command in commands:
        own = _LONG.get(str(command[0]), 1)
        if weight + own > _AT_ONCE:
            yield piece
            piece, weight = [], 0
        piece.append(command)
        weight += own
    if piece:
        yield piece


def ask_all(link: Link, questions: Sequence[Sequence[Command]]) -> list[Answer]:
    """Send the commands of many questions, and return the answer to each; to no commands, an empty one."""
    replies = iter(ask_each(link, [command for each in questions for command in each]))
    return [_answer([next(replies) for _ in each]) for each in questions]


def _answer(replies: Sequence[Any]) -> Answer:
    return next((each for each in replies if isinstance(each, ResponseError)), replies)
