"""The sub-commands of `manage.py deadletters`: `listing` looks, `changing` replays and discards."""

from ..subcommands import Subcommand
from .changing import DISCARD, REPLAY
from .listing import LIST, SHOW

__all__ = ["SUBCOMMANDS"]

SUBCOMMANDS: tuple[Subcommand, ...] = (LIST, SHOW, REPLAY, DISCARD)
