"""`manage.py deadletters …`: what an operator does with messages that won't run again by themselves."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.exceptions import ResponseError

from ...exceptions import StreamsError, UnknownStream
from ..deadletters import changing, listing
from ..options import base_options

__all__ = ["Command"]


class Command(BaseCommand):
    """List, show, replay and discard dead letters.

    Ends with 0, also where nothing fits; 1 where some were refused or a server can't be asked; 2 for arguments that
    can't work and names that aren't declared; 130 when it was stopped by Ctrl-C.
    """

    help = "Lists, shows, replays and discards dead letters."
    # A project that isn't in order is when this is needed.
    requires_system_checks = []  # noqa: RUF012  as Django declares it

    def add_arguments(self, parser: CommandParser) -> None:
        """Each sub-command takes Django's own options too, so that they may stand on both sides of it."""
        names = parser.add_subparsers(dest="subcommand", required=True, metavar="subcommand")
        for name, text, add, run in (
            ("list", "Lists dead letters, newest first.", listing.add_list, self._list),
            ("show", "Shows all that is known of some.", listing.add_show, self._show),
            ("replay", "Gives them back to the groups that they failed in.", changing.add_replay, self._replay),
            ("discard", "Deletes them for good.", changing.add_discard, self._discard),
        ):
            below = names.add_parser(name, help=text, description=text, parents=[base_options()])
            below.add_argument("--json", action="store_true", help="Write JSON.")
            add(below)
            below.set_defaults(run=run)

    def handle(self, *_: Any, **options: Any) -> None:
        """Do what is asked for. Raises `CommandError` for what can't be done."""
        try:
            for line in options["run"](options):
                self.stdout.write(line)
        except (StreamsError, ResponseError) as error:
            raise CommandError(str(error), returncode=2 if isinstance(error, UnknownStream) else 1) from error

    def _list(self, options: Any) -> Any:
        return listing.listed(options)

    def _show(self, options: Any) -> Any:
        return listing.shown(options)

    def _replay(self, options: Any) -> Any:
        return changing.replay(options, self.stderr)

    def _discard(self, options: Any) -> Any:
        return changing.discard(options, self.stderr)
