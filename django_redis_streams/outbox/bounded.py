"""The figures of the outbox with a time limit, for those who must not wait for a database that hangs.

Nothing here needs the app: without it there are no figures.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from ..querying import Question
from .presence import is_installed

if TYPE_CHECKING:
    from .figures import DatabaseFigures

__all__ = ["Asked"]

_lock = Lock()
# By database: the last question. One that hangs isn't asked a second.
_asking: dict[str, Question[DatabaseFigures]] = {}


class Asked:
    """Asks each database, beginning now; nothing without the app."""

    def __init__(self) -> None:
        self._until_then: dict[str, Question[DatabaseFigures]] = {}
        if is_installed():
            # Models can't be imported where their app isn't installed.
            from .databases import aliases  # noqa: PLC0415

            self._until_then = {alias: _begun(alias) for alias in aliases()}

    def figures(self, within: float) -> Sequence[DatabaseFigures]:
        """Return each database's figures; one that takes more than so many seconds from now has a problem instead."""
        until = time.monotonic() + within
        return [
            question.answer(until)
            or _problem(alias, question.error or _("no answer within %(seconds)g s") % {"seconds": within})
            for alias, question in self._until_then.items()
        ]


def _problem(alias: str, why: str) -> DatabaseFigures:
    # As above.
    from .databases import unavailable  # noqa: PLC0415
    from .figures import DatabaseFigures  # noqa: PLC0415  as above

    return DatabaseFigures(database=alias, problem=unavailable(alias, why))


def _begun(alias: str) -> Question[DatabaseFigures]:
    # As above.
    from .figures import figures_of  # noqa: PLC0415

    with _lock:
        question = _asking.get(alias)
        if question is None or not question.is_alive():
            question = _asking[alias] = Question(alias, figures_of)
        return question
