"""To which connections a process relays the outbox: where its app is installed, to all that have streams."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ... import conf
from ...outbox.presence import is_installed
from ..timing import Timing

if TYPE_CHECKING:
    from .relay import OutboxRelay

__all__ = ["relayed_connections", "relays"]


def relayed_connections() -> Sequence[str]:
    """Return the aliases of the connections that a process relays to: also of those whose streams it doesn't serve."""
    if not is_installed():
        return []
    return sorted({each.connection for each in conf.get().streams.values()})


def relays(stop: threading.Event, timing: Timing) -> Sequence[OutboxRelay]:
    """Return the service for each of these connections."""
    aliases = relayed_connections()
    if not aliases:
        return []
    from .relay import OutboxRelay  # noqa: PLC0415  it imports a model, which an app has to be installed for

    return [OutboxRelay(alias, stop, timing, tells=alias == aliases[0]) for alias in aliases]
