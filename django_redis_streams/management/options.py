"""Options that commands with sub-commands share: Django's own on both sides, confirmation, and the user's name."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

__all__ = ["add_by", "add_dry_run", "add_no_input", "base_options", "by", "confirmed", "undone"]


def base_options() -> CommandParser:
    """Return Django's own options, which keep the values that were given before the sub-command."""
    parser = BaseCommand().create_parser("", "", add_help=False)
    for action in parser._actions:  # noqa: SLF001  argparse has no other way to them
        action.default = argparse.SUPPRESS
    return parser


def add_by(parser: CommandParser) -> None:
    """Add `--by`, the user's name."""
    parser.add_argument("--by", default=None, help="Your name for the log (default: the system's user).")


def by(options: Mapping[str, Any]) -> str:
    """Return the user's name: that of `--by`, else the system user's, else the user's number."""
    if options["by"]:
        return str(options["by"])
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def add_dry_run(parser: CommandParser) -> None:
    """Add `--dry-run`."""
    parser.add_argument("--dry-run", action="store_true", help="Only say what would be done.")


def add_no_input(parser: CommandParser) -> None:
    """Add `--no-input`."""
    parser.add_argument("--no-input", "--noinput", action="store_true", dest="no_input", help="Don't ask.")


def confirmed(what: str, options: Mapping[str, Any]) -> bool:
    """Return whether to do it: `--dry-run` means no, `--no-input` yes; else the person at the terminal is asked.

    Raises `CommandError` if there is no terminal to ask at.
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


def undone(what: str, verb: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return how a command ends that wasn't `confirmed`: the `result` in its JSON, and the line for people."""
    return (f"would_{verb}", what) if options["dry_run"] else ("not_confirmed", "Nothing was done.")
