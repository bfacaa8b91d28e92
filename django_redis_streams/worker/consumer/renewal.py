"""Renewing what a consumer has in hand, and letting go of what it has lost."""

from __future__ import annotations

import time

from redis.exceptions import ResponseError

from ...connections import Link
from ...store.consume.membership import Membership
from ...store.consume.ownership import renew
from .unacked import Unacked

__all__ = ["renew_all_in_hand"]


def renew_all_in_hand(link: Link, membership: Membership, unacked: Unacked) -> None:
    """Renew these, stream by stream; drop those that another consumer has claimed.

    An entry that somebody has deleted stays in hand: the message is here, and is run. If one stream is refused, the
    others are renewed before the error is raised.
    """
    since = time.monotonic()
    refused: ResponseError | None = None
    for key, held in unacked.by_key().items():
        try:
            lost = renew(link, membership, key, [each.entry_id for each in held])
        except ResponseError as error:
            refused = error
            continue
        for delivery in held:
            delivery.since = since
        unacked.release(lost)
    if refused is not None:
        raise refused
