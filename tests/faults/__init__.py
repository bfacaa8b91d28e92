"""Faults around a worker, provoked on real servers: nothing is lost, and duplicates come only where promised."""

from collections.abc import Iterable
from typing import Any

import pytest


def row(cases: Iterable[str], *, often: Iterable[str]) -> list[Any]:
    """Return parameters for a row of tests: `make test` runs the `often` ones, `make faults` all."""
    return [pytest.param(each, marks=() if each in often else pytest.mark.slow) for each in cases]
