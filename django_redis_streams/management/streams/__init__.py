"""The sub-commands of `manage.py streams`, one module each."""

from .health import HEALTH
from .pausing import PAUSE, RESUME
from .publishing import PUBLISH
from .retries import RETRIES
from .subcommand import Subcommand
from .tailing import TAIL

__all__ = ["SUBCOMMANDS", "Subcommand"]

SUBCOMMANDS: tuple[Subcommand, ...] = (HEALTH, PAUSE, PUBLISH, RESUME, RETRIES, TAIL)
