"""A handler, and which handler of its group a message is for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from asgiref.sync import iscoroutinefunction

from ..conf import GroupConfig
from ..exceptions import HandlerError
from ..inbox.running import once
from ..message import LONGEST_TYPE
from ..retry import RetryPolicy
from .transactions import in_transaction

__all__ = ["Handler", "HandlerSet"]


# Compared and hashed by identity: each declaration is its own.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Handler:
    """A function and what it was declared to take.

    `types` are names and patterns; without any it takes what no other handler of its group takes. `atomic` is the
    alias of the database that a transaction is opened in, or False; with `once`, the inbox of that database says which
    messages have had their effect. The group decides what is None here. `consumer` is the name of the consumer that is
    to run it, where one is.
    """

    function: Callable[[Any], Any]
    stream: str
    group: str
    types: tuple[str, ...] = ()
    batch: bool = False
    atomic: str | Literal[False] = False
    once: bool = False
    max_retries: int | None = None
    backoff: tuple[float, float] | None = None
    retry_on: tuple[type[Exception], ...] | None = None
    reject_on: tuple[type[Exception], ...] = ()
    timeout: float | None = None
    consumer: str = ""

    @property
    def name(self) -> str:
        """The function's dotted name."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def is_async(self) -> bool:
        """Whether calling it gives a coroutine."""
        return iscoroutinefunction(self.function)

    @property
    def in_transaction(self) -> Callable[[Any], Any]:
        """The function, in a transaction if it wants one, which is committed when the function returns."""
        if self.atomic is False:
            return self.function
        function = once(self.function, self.atomic, batch=self.batch) if self.once else self.function
        return in_transaction(function, self.atomic)

    def deadline(self, group: GroupConfig, now: float) -> float:
        """Return by when a call that begins now must have ended; infinity for never."""
        timeout = group.timeout if self.timeout is None else self.timeout
        return math.inf if timeout is None else now + timeout

    def policy(self, group: GroupConfig) -> RetryPolicy:
        """Return how its messages are retried: its own options over its group's settings."""
        return RetryPolicy(
            max_retries=group.max_retries if self.max_retries is None else self.max_retries,
            backoff=group.backoff if self.backoff is None else self.backoff,
            retry_on=self.retry_on,
            reject_on=self.reject_on,
        )


class HandlerSet:
    """The handlers of one group. Raises `HandlerError` where two take the same type."""

    def __init__(self, handlers: Sequence[Handler]) -> None:
        self._handlers = tuple(handlers)
        by_type: dict[str | None, Handler] = {}
        for each in self._handlers:
            for name in each.types or (None,):
                other = by_type.setdefault(name, each)
                if other is not each:
                    raise _clash(other, each, name)
        self._rest = by_type.pop(None, None)
        patterns = sorted((name for name in by_type if name and "*" in name), key=_inexactness)
        self._patterns = [(_Pattern.of(name), by_type.pop(name)) for name in patterns]
        self._exact = by_type

    def find(self, type: str) -> Handler | None:  # noqa: A002  the message's own word for it
        """Find the handler of a message of this type: the exact name, else the most exact pattern, else the rest's.

        A type may come from anybody. No name or pattern takes one of more than `LONGEST_TYPE` characters.
        """
        found = self._exact.get(type)
        if found is not None:
            return found
        if len(type) <= LONGEST_TYPE:
            for pattern, handler in self._patterns:
                if pattern.matches(type):
                    return handler
        return self._rest

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)


def _inexactness(pattern: str) -> tuple[int, int, str]:
    """Return what sorts the most exact pattern first: more characters to match, then fewer stars, then the alphabet."""
    stars = pattern.count("*")
    return stars - len(pattern), stars, pattern


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Matches a whole type; `*` stands for any text, dots and nothing at all included.

    Each part between two stars is looked for once, after the part before it: its first place leaves the most room for
    the parts after it, so no part is tried again. A regular expression tries all places of all parts: with three stars
    its work grows with the cube of the type's length.
    """

    begin: str
    between: tuple[str, ...]
    end: str
    shortest: int

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the pattern that a text with a star stands for."""
        begin, *between, end = text.split("*")
        return cls(begin, tuple(filter(None, between)), end, len(text) - text.count("*"))

    def matches(self, type: str) -> bool:  # noqa: A002  as above
        """Return whether the pattern takes this type."""
        if len(type) < self.shortest or not (type.startswith(self.begin) and type.endswith(self.end)):
            return False
        at, end = len(self.begin), len(type) - len(self.end)
        for part in self.between:
            at = type.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


def _clash(first: Handler, second: Handler, type: str | None) -> HandlerError:  # noqa: A002  as above
    what = "every type that no other handler takes" if type is None else f"the type {type!r}"
    return HandlerError(
        f"{first.name} and {second.name} both take {what} in group {first.group!r} of stream {first.stream!r}: "
        "a message has one handler in each group."
    )
