"""The sub-commands of `manage.py deadletters`, each in a module of its name.

The module of `list` is `list_`: a module `list` would hide Python's own name in this package. `running` holds the
code that replaying and discarding share, `as_json` the JSON for programs.
"""

from ..subcommands import Subcommand
from .discard import DISCARD
from .list_ import LIST
from .replay import REPLAY
from .show import SHOW

__all__ = ["SUBCOMMANDS"]

SUBCOMMANDS: tuple[Subcommand, ...] = (LIST, SHOW, REPLAY, DISCARD)
