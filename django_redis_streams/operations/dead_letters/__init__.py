"""An operator's actions on dead letters: find them, replay them, discard them.

For the admin and for commands. `replaying` replays or discards some by their ids, `searching` finds those that are
selected, `in_parts` acts on any number of them in bounded memory, `editing` replaces a payload. Two people may ask for
the same action at once: it is done once, and the other is told that the dead letter was gone.
"""

from .in_parts import Done, discard_each, replay_each
from .replaying import discard, replay, replay_edited, why_not_replayable
from .searching import Search, Selection

__all__ = [
    "Done", "Search", "Selection", "discard", "discard_each", "replay", "replay_each", "replay_edited",
    "why_not_replayable",
]  # fmt: skip
