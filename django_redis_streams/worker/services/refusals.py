"""What the server refuses of many things that a service does: it is raised after all of them are done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import ResponseError

from ...store.replies import group_is_gone

__all__ = ["Refusals"]


class Refusals:
    """Keeps the first refusal of several steps, for `raise_first`.

    A group that is gone isn't raised: its consumer makes it again, and reports it.
    """

    def __init__(self) -> None:
        self._first: ResponseError | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Do one step, which a refusal ends."""
        try:
            yield
        except ResponseError as error:
            if self._first is None and not group_is_gone(error):
                self._first = error

    def raise_first(self) -> None:
        """Raise what was refused first, if anything was."""
        if self._first is not None:
            raise self._first
