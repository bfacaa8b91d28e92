"""The sub-commands of `manage.py streams`, one module each."""

from .health import HEALTH
from .pausing import PAUSE, RESUME
from .retries import RETRIES
from .subcommand import Subcommand

__all__ = ["SUBCOMMANDS", "Subcommand"]

SUBCOMMANDS: tuple[Subcommand, ...] = (HEALTH, PAUSE, RESUME, RETRIES)
