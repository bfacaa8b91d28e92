"""What a sub-command of `manage.py streams` is: a name, its arguments, and what it finds or does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandParser

__all__ = ["Result", "Subcommand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a sub-command found or did: `told` for `--json`, `lines` for people, and the exit code."""

    told: Mapping[str, Any]
    lines: Iterable[str]
    code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subcommand:
    """`run` takes the options, and may raise `CommandError`, a `StreamsError` or redis-py's `ResponseError`."""

    name: str
    help: str
    add_arguments: Callable[[CommandParser], None]
    run: Callable[[Mapping[str, Any]], Result]
