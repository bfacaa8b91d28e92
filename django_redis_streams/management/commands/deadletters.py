"""`manage.py deadletters …`: an operator's actions on messages that won't run again by themselves."""

from __future__ import annotations

from ..deadletters import SUBCOMMANDS
from ..subcommands import CommandOfSubcommands

__all__ = ["Command"]


class Command(CommandOfSubcommands):
    """List, show, replay and discard dead letters.

    Ends with 0, also if no dead letter fits; with 1 also if some were refused; with 130 if Ctrl-C stopped a run.
    """

    help = "Lists, shows, replays and discards dead letters."
    subcommands = SUBCOMMANDS
