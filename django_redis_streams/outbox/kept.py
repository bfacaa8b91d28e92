"""Rows of what is on the server, kept for OUTBOX_KEEP seconds: they go in the end.

So do those that waited for replicas, a day after nobody declares their stream any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from django.db import connections
from django.db.models import Q
from django.db.models.functions import Now

from .. import conf
from ..conf import StreamConfig
from ..querying import delete, exactly
from .standing import KEPT, SENT, all_rows

__all__ = ["delete_kept"]

_AT_ONCE: Final = 1_000
# In seconds: so long are those of streams kept that these settings don't declare. Others' may.
_UNDECLARED: Final = 86_400.0


def delete_kept(using: str, streams: Mapping[str, StreamConfig]) -> bool:
    """Delete rows that were kept for long enough, a thousand at most; return whether there may be more."""
    by_keep: dict[float, list[str]] = defaultdict(list)
    for name, stream in streams.items():
        by_keep[stream.outbox_keep or 0.0].append(name)
    old = Q()
    for seconds, names in by_keep.items():
        old |= Q(exactly("stream", names), sent_at__lt=Now() - timedelta(seconds=seconds))
    # Of these nobody finds out whether enough replicas have them by now.
    undeclared = ~exactly("stream", conf.get().streams) & Q(sent_at__lt=Now() - timedelta(seconds=_UNDECLARED))
    found = all_rows(using).filter(KEPT & old | SENT & undeclared)
    ids = list(found.order_by("pk").values_list("pk", flat=True)[: _most(using)])
    if ids:
        delete(all_rows(using).filter(pk__in=ids))
    return len(ids) >= _most(using)


def _most(using: str) -> int:
    return min(_AT_ONCE, connections[using].features.max_query_params or _AT_ONCE)
