"""The sub-commands of `manage.py deadletters`, each in a module of its name.

That of `list` is `list_`: a module `list` would stand before Python's own name in this package. `running` is what
replaying and discarding share, `as_json` what all write for programs.
"""

from ..subcommands import Subcommand
from .discard import DISCARD
from .list_ import LIST
from .replay import REPLAY
from .show import SHOW

__all__ = ["SUBCOMMANDS"]

SUBCOMMANDS: tuple[Subcommand, ...] = (LIST, SHOW, REPLAY, DISCARD)
