"""What a sub-command of `manage.py streams` is: a name, its arguments, and what it finds or does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandParser

__all__ = ["Result", "Subcommand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a sub-command found or did: `told` for `--json`, `lines` for people, and the exit code.

    Without `told`, `lines` are for whoever asked, one JSON document each where that was asked for: they may come
    for ever, and may raise `CommandError`.
    """

    told: Mapping[str, Any] | None
    lines: Iterable[str]
    code: int = 0

    def written(self, *, as_json: bool) -> Iterable[str]:
        """The lines to write."""
        return [json.dumps(self.told)] if as_json and self.told is not None else self.lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Subcommand:
    """`run` takes the options, and may raise `CommandError`, a `StreamsError` or redis-py's `ResponseError`.

    A `name` of two words is a sub-command of a sub-command.
    """

    name: str
    help: str
    add_arguments: Callable[[CommandParser], None]
    run: Callable[[Mapping[str, Any]], Result]
