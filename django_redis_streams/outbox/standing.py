"""How a row stands: in a word, and as the condition of a query. All times are the database's own."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from .models import OutboxMessage

__all__ = [
    "HELD",
    "KEPT",
    "ON_TOO_FEW",
    "ON_TOO_FEW_REPLICAS",
    "ROWS",
    "SENDING",
    "SENT",
    "UNSENT",
    "Standing",
    "all_rows",
    "unsent",
]

# The error of a row that only waits for one before it.
HELD: Final = "Waits for an earlier message of its key."
# The error of a row that is on the server, and waits until as many replicas as MIN_REPLICAS have it.
ON_TOO_FEW: Final = "Too few replicas have it."

UNSENT: Final = Q(sent_at=None)
SENT: Final = ~UNSENT
ON_TOO_FEW_REPLICAS: Final = SENT & Q(error=ON_TOO_FEW)
# Only in case the server loses it.
KEPT: Final = SENT & Q(error="")
# Whoever published it is about to send it: nobody has said anything of it yet, and it isn't the relay's turn.
SENDING: Final = UNSENT & Q(attempts=0, error="", next_try_at__gt=Now())


class Standing(StrEnum):
    """How a row stands. One that waits for an earlier one of its key has an error, and no attempts."""

    SENDING = "sending"
    WAITING = "waiting"
    REFUSED = "refused"
    SENT = "sent"


# The condition for each.
ROWS: Final[Mapping[Standing, Q]] = {
    Standing.SENDING: SENDING,
    Standing.WAITING: UNSENT & Q(attempts=0) & ~SENDING,
    Standing.REFUSED: UNSENT & Q(attempts__gt=0),
    Standing.SENT: SENT,
}


def all_rows(using: str) -> QuerySet[OutboxMessage]:
    """Return all rows of a database, in no order."""
    return OutboxMessage.objects.using(using).order_by()


def unsent(using: str) -> QuerySet[OutboxMessage]:
    """Return the rows of a database that aren't on the server, in no order."""
    return all_rows(using).filter(UNSENT)
