"""`manage.py streams …`: what an operator does with streams. Each sub-command is a module of `management.streams`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import ResponseError

from ...exceptions import StreamsError, UnknownStream
from ..options import base_options
from ..streams import SUBCOMMANDS

__all__ = ["Command"]


class Command(BaseCommand):
    """Operate streams: one sub-command for each thing to do."""

    help = "Operates streams and their consumer groups."
    # A project that isn't in order is when this is needed.
    requires_system_checks = []  # noqa: RUF012  as Django declares it

    def add_arguments(self, parser: CommandParser) -> None:
        """Each sub-command takes Django's own options too, so that they may stand on both sides of it."""
        above = {"": parser.add_subparsers(dest="subcommand", required=True, metavar="subcommand")}
        for each in SUBCOMMANDS:
            before, _, name = each.name.rpartition(" ")
            if before not in above:
                within = above[""].add_parser(before, help=f"See {before} --help.")
                above[before] = within.add_subparsers(dest="what", required=True, metavar="what")
            below = above[before].add_parser(name, help=each.help, description=each.help, parents=[base_options()])
            below.add_argument("--json", action="store_true", help="Write JSON.")
            each.add_arguments(below)
            below.set_defaults(run=each.run)

    def handle(self, *_: Any, **options: Any) -> None:
        """Do what is asked for. Raises `CommandError` for what can't be done: with 2 for a name that isn't declared."""
        try:
            result = options["run"](options)
        except (StreamsError, ResponseError) as error:
            raise CommandError(str(error), returncode=2 if isinstance(error, UnknownStream) else 1) from error
        with suppress(KeyboardInterrupt):  # how following ends
            self._write(result.written(as_json=options["json"]))
        if result.code:
            sys.exit(result.code)

    def _write(self, lines: Iterable[str]) -> None:
        try:
            for line in lines:
                self.stdout.write(line)
                self.stdout.flush()  # whoever follows through a pipe waits for each
        except BrokenPipeError:
            # `… | head` has seen enough; Python would complain once more when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
