"""What a worker leaves behind when it ends while its servers can't be reached, and the one line about it."""

from __future__ import annotations

from collections.abc import Iterable

from ..log.lines import logger
from ..shared.scoreboard import Scoreboard

__all__ = ["LeftBehind"]


class LeftBehind:
    """Collects over all processes of a worker what couldn't be settled or handed back at its stop."""

    def __init__(self) -> None:
        self.unreached = False
        self._held = self._untold = 0
        self._unknown: set[int] = set()

    @property
    def any(self) -> bool:
        """Whether anything stays pending under the names of this worker's consumers."""
        return bool(self._held or self._untold or self._unknown)

    def add(self, scoreboard: Scoreboard) -> None:
        """Add what a process has noted, if it has ended without a server."""
        if scoreboard.left_unreached:
            self.unreached = True
            held, untold = scoreboard.left_behind
            self._held += held
            self._untold += untold

    def add_unrescued(self, pids: Iterable[int]) -> None:
        """Add what processes held that no rescuer could hand back."""
        self._unknown.update(pids)
        self.unreached = self.unreached or bool(self._unknown)

    def log(self) -> None:
        """Log all of it in one line, if there is anything."""
        if not self.any:
            return
        what = [f"{self._held} messages"] if self._held else []
        if self._unknown:
            noun = "process" if len(self._unknown) == 1 else "processes"
            what.append(f"what {noun} {', '.join(map(str, sorted(self._unknown)))} held")
        untold = ""
        if self._untold:
            untold = f" {self._untold} of them were run, and their outcomes couldn't be told: they may run again."
        logger.error(
            "The worker ended without handing back %s, because a server couldn't be reached or refused it. They stay "
            "pending for its consumers, and others claim them after CLAIM_IDLE.%s",
            " and ".join(what), untold,
        )  # fmt: skip
