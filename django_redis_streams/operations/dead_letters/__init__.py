"""What a person does about dead letters: find them, replay them, discard them.

For the admin and for commands. `changing` does it to some by their ids, `searching` finds those that are meant,
`running` does it to as many as there are, in bounded memory, `editing` gives one another payload. Each may be asked
for twice, by two people at once: it is done once, and the other is told that it was gone.
"""

from .changing import discard, replay, replay_edited, why_not_replayable
from .running import Done, discard_each, replay_each
from .searching import Search, Selection

__all__ = [
    "Done", "Search", "Selection", "discard", "discard_each", "replay", "replay_each", "replay_edited",
    "why_not_replayable",
]  # fmt: skip
