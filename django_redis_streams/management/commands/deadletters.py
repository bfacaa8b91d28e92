"""`manage.py deadletters …`: what an operator does with messages that won't run again by themselves."""

from __future__ import annotations

from ..deadletters import SUBCOMMANDS
from ..subcommands import CommandOfSubcommands

__all__ = ["Command"]


class Command(CommandOfSubcommands):
    """List, show, replay and discard dead letters.

    Ends with 0, also where nothing fits; 1 also where some were refused; 130 when a run was stopped by Ctrl-C.
    """

    help = "Lists, shows, replays and discards dead letters."
    subcommands = SUBCOMMANDS
