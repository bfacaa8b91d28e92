"""Waiting for a condition instead of for some time."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str = "", *, deadline: float = 30.0) -> T:
    """Wait until `condition()` is true and return its value; fail the test after `deadline` seconds.

    `what` completes the sentence "Not within 30 s: …".
    """
    until = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > until:
            pytest.fail(f"Not within {deadline:g} s: {what or condition}. Last: {found!r}")
        time.sleep(0.005)
    return found
