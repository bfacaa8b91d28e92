"""Waiting for a condition instead of for some time."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str = "", *, deadline: float = 60.0) -> T:
    """Wait until `condition()` is true and return its value; fail the test after `deadline` seconds.

    `what` completes the sentence "Not within 60 s: …".
    """
    until = time.monotonic() + deadline
    while True:
        # Before the look: one that comes late, as this thread was held up, still sees what was there in time.
        late = time.monotonic() > until
        if found := condition():
            return found
        if late:
            pytest.fail(f"Not within {deadline:g} s: {what or condition}. Last: {found!r}")
        time.sleep(0.005)


def undisturbed(act: Callable[[], T], seconds: float) -> T:
    """Return what `act()` returns when it takes less than so many seconds; until then it is done again.

    For what holds only for that time: on a busy machine, any two steps may lie further apart.
    """

    def tried() -> tuple[T] | None:
        began = time.monotonic()
        found = act()
        return (found,) if time.monotonic() - began < seconds else None

    (found,) = wait_until(tried, f"it takes less than {seconds:g} s")
    return found
