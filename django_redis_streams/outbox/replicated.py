"""Rows of what is on the server, and too few replicas had when it was sent: each waits until enough have it.

With MIN_REPLICAS alone. A failover may have lost such a message meanwhile, also one of which nobody here knows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from redis.exceptions import ResponseError

from ..conf import StreamConfig
from ..connections import Link
from ..connections.refusals import PartUnreachable
from ..querying import delete, exactly
from .lost import PAGE, lost_rows, send_again
from .models import OutboxMessage
from .standing import ON_TOO_FEW_REPLICAS, all_rows

__all__ = ["settle_replicated"]

logger = logging.getLogger("django_redis_streams")


def settle_replicated(
    using: str,
    streams: Mapping[str, StreamConfig],
    link: Link,
    replicas: Callable[[Link, StreamConfig, int, float], int],
) -> bool:
    """Settle rows of what enough replicas have by now, and have those sent again that the server has lost.

    `replicas(link, stream, least, seconds)` waits, and returns how many replicas have all that the stream's server has.
    Returns whether to go on at once.
    """
    if not all_rows(using).filter(ON_TOO_FEW_REPLICAS, exactly("stream", streams)).exists():
        return False
    more = False
    # Each node of a cluster for itself: what is for others isn't held up by one that is away, and is looked at later.
    for part, theirs in link.by_node(list(streams.values()), lambda stream: stream.keys.main):
        try:
            more = _settle_on(using, {each.name: each for each in theirs}, part, replicas) or more
        except PartUnreachable:
            continue
    return more


def _settle_on(
    using: str,
    streams: Mapping[str, StreamConfig],
    link: Link,
    replicas: Callable[[Link, StreamConfig, int, float], int],
) -> bool:
    """Do it for streams of one node. Raises `PartUnreachable` where that is away."""
    rows = all_rows(using).filter(ON_TOO_FEW_REPLICAS, exactly("stream", streams))
    page = list(rows.defer("entry").order_by("pk")[:PAGE])
    if not page:
        return False
    try:
        lost = lost_rows(using, link, streams, page)
    except PartUnreachable:
        raise
    except ResponseError as error:
        logger.error(  # noqa: TRY400  the traceback says nothing more
            "The outbox can't find out whether messages are still on the server, so it keeps their rows: %r.",
            str(error),
        )
        return False
    send_again(using, lost)
    # What was there just now, these replicas have, too.
    safe = _safe([row for row in page if row.pk not in set(lost)], streams, link, replicas)
    delete(rows.filter(pk__in=[row.pk for row in safe if streams[row.stream].outbox_keep is None]))
    rows.filter(pk__in=[row.pk for row in safe if streams[row.stream].outbox_keep is not None]).update(error="")
    return len(page) == PAGE and bool(lost or safe)


def _safe(
    page: Sequence[OutboxMessage],
    streams: Mapping[str, StreamConfig],
    link: Link,
    replicas: Callable[[Link, StreamConfig, int, float], int],
) -> Sequence[OutboxMessage]:
    """Return the rows of what enough replicas have; all streams are on one node."""
    theirs = [streams[name] for name in {row.stream for row in page}]
    least = max((each.min_replicas or 0 for each in theirs), default=0)
    count = replicas(link, theirs[0], least, max(each.replica_timeout for each in theirs)) if least else 0
    return [row for row in page if count >= (streams[row.stream].min_replicas or 0)]
