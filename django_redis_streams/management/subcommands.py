"""Commands of sub-commands: each has a name, its arguments, and a function."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import ResponseError

from .. import connections
from ..exceptions import StreamsError, UnknownStream
from .options import base_options
from .output import write_any_text

__all__ = ["CommandOfSubcommands", "Result", "Subcommand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a sub-command: `as_json` for `--json`, `lines` for people, and the exit code.

    Without `as_json`, `lines` are written either way; with `--json` each is a JSON document. They may raise
    what `Subcommand.run` may. With `follows` they may never end, and Ctrl-C ends them well.
    """

    as_json: Mapping[str, Any] | None
    lines: Iterable[str]
    code: int = 0
    follows: bool = False

    def written(self, *, as_json: bool) -> Iterable[str]:
        """Return the lines to write: the JSON if it is asked for and the result has it, else the text."""
        return [json.dumps(self.as_json)] if as_json and self.as_json is not None else self.lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Subcommand:
    """`run` takes the options, and may raise `CommandError`, a `StreamsError` or redis-py's `ResponseError`.

    Among the options are `err`, the stream for progress, and `terminal`, whether a person sees the lines. A `name` of
    two words is a sub-command of a sub-command.
    """

    name: str
    help: str
    add_arguments: Callable[[CommandParser], None]
    run: Callable[[Mapping[str, Any]], Result]


class CommandOfSubcommands(BaseCommand):
    """A command that has a sub-command for each task.

    Ends with 1 for an error, with 2 for arguments that can't work and names that aren't declared.
    """

    subcommands: ClassVar[Sequence[Subcommand]]

    # These commands are needed most when the project's checks fail.
    requires_system_checks = []  # noqa: RUF012  as Django declares it

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the sub-commands. Each takes Django's own options too, so that they may stand on both sides of it."""
        above = {"": parser.add_subparsers(dest="subcommand", required=True, metavar="subcommand")}
        for each in self.subcommands:
            before, _, name = each.name.rpartition(" ")
            if before not in above:
                within = above[""].add_parser(before, help=f"See {before} --help.")
                above[before] = within.add_subparsers(dest="what", required=True, metavar="what")
            below = above[before].add_parser(name, help=each.help, description=each.help, parents=[base_options()])
            below.add_argument("--json", action="store_true", help="Write JSON.")
            each.add_arguments(below)
            below.set_defaults(run=each.run)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run the sub-command. Raises `CommandError` for its errors."""
        write_any_text(self.stdout, self.stderr)
        try:
            with connections.hurried():
                result = options["run"]({**options, "err": self.stderr, "terminal": self.stdout.isatty()})
                self._write(result, as_json=options["json"])
        except (StreamsError, ResponseError) as error:
            raise CommandError(str(error), returncode=2 if isinstance(error, UnknownStream) else 1) from error
        if result.code:
            sys.exit(result.code)

    def _write(self, result: Result, *, as_json: bool) -> None:
        try:
            for line in result.written(as_json=as_json):
                self.stdout.write(line)
                self.stdout.flush()  # a reader at the end of a pipe waits for each line
        except KeyboardInterrupt:
            if not result.follows:
                raise
        except BrokenPipeError:
            # `… | head` has read enough; Python would report the broken pipe again when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
