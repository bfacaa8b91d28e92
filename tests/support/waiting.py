"""Waiting for what shall happen, instead of for time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str = "", *, deadline: float = 30.0) -> T:
    """What `condition()` returns once that is true; the test fails when it isn't within `deadline` seconds.

    `what` completes the sentence "Not within 30 s: …".
    """
    until = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > until:
            pytest.fail(f"Not within {deadline:g} s: {what or condition}. Last: {found!r}")
        time.sleep(0.005)
    return found
