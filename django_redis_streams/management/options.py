"""What commands with sub-commands share: Django's own options on both sides, and who does it."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

__all__ = ["add_by", "add_dry_run", "add_no_input", "base_options", "by", "confirmed"]


def base_options() -> CommandParser:
    """Django's own options, which leave what was said before the sub-command as it is."""
    parser = BaseCommand().create_parser("", "", add_help=False)
    for action in parser._actions:  # noqa: SLF001  argparse has no other way to them
        action.default = argparse.SUPPRESS
    return parser


def add_by(parser: CommandParser) -> None:
    """Let it be said who does it."""
    parser.add_argument("--by", default=None, help="Your name for the log (default: the system's user).")


def by(options: Mapping[str, Any]) -> str:
    """Who does it: as said, or the system's name of who runs this, or the number where there is no name."""
    if options["by"]:
        return str(options["by"])
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def add_dry_run(parser: CommandParser) -> None:
    """Let it be said that nothing is to be done."""
    parser.add_argument("--dry-run", action="store_true", help="Only say what would be done.")


def add_no_input(parser: CommandParser) -> None:
    """Let it be said that nobody is to be asked."""
    parser.add_argument("--no-input", "--noinput", action="store_true", dest="no_input", help="Don't ask.")


def confirmed(what: str, options: Mapping[str, Any]) -> bool:
    """Whether to do it: with `--no-input` yes, with `--dry-run` no, else as somebody at a terminal says.

    Raises `CommandError` where nobody can be asked.
    """
    if options["dry_run"]:
        return False
    if options["no_input"]:
        return True
    if not sys.stdin.isatty():
        raise CommandError(
            f"{what} Nobody can be asked. Add --no-input to do it, or --dry-run to see what it would do.", returncode=2
        )
    return input(f"{what} Type yes to do it: ").strip().lower() in ("y", "yes")
