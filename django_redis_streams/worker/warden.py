"""Hands back what a dead process held, so that nobody has to wait for CLAIM_IDLE.

It is a process of its own, forked on demand: the supervisor has no connections, ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from redis.exceptions import ResponseError

from .. import connections
from ..exceptions import ServerUnreachable
from ..store.hold import hand_back
from ..store.membership import Membership
from .patience import Patience
from .tell import about, logger, tell_vanished

__all__ = ["hand_back_all"]

_TIMEOUT = 5.0


def hand_back_all(dead: Iterable[Membership], supervisor: int) -> int:
    """Hand back what these consumers hold; tried until it is done, or the supervisor is gone. The exit code.

    The script is fenced on the dead consumers' names, which nobody else ever has.
    """
    left = list(dead)
    patience = Patience(least=0.1, most=5.0)
    while left and os.getppid() == supervisor:
        left = [each for each in left if not _handed_back(each)]
        if left:
            time.sleep(patience.more())
    return 1 if left else 0


def _handed_back(place: Membership) -> bool:
    try:
        link = connections.open(place.stream.connection, timeout=_TIMEOUT)
        try:
            count, vanished = hand_back(link, place)
        finally:
            link.close()
    except (ServerUnreachable, ResponseError) as error:
        logger.error("What a dead process held can't be handed back yet: %r", str(error), extra=about(place))
        return False
    tell_vanished(place, vanished)
    if count:
        logger.warning("Messages handed back that a dead process held: %d.", count, extra=about(place))
    return True
