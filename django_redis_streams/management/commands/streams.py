"""`manage.py streams …`: an operator's actions on streams. Each sub-command is a module of `management.streams`."""

from __future__ import annotations

from ..streams import SUBCOMMANDS
from ..subcommands import CommandOfSubcommands

__all__ = ["Command"]


class Command(CommandOfSubcommands):
    """Operate streams."""

    help = "Operates streams and their consumer groups."
    subcommands = SUBCOMMANDS
