"""When a message is due: `delay=` and `at=`, checked at the call."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from ..exceptions import InvalidMessage
from ..store.publish.delay import Due
from ..wire import excerpt

__all__ = ["due_of"]

# In seconds. The server keeps due times as floating point numbers: exact for far longer, and nobody means more.
_LONGEST = 100 * 366 * 86_400


def due_of(delay: object, at: object) -> Due | None:
    """Read `delay` (seconds or a timedelta) or `at` (a datetime); None for now. Raises `InvalidMessage`."""
    if delay is None:
        return None if at is None else _at(at)
    if at is not None:
        raise InvalidMessage(f"delay={excerpt(delay)}, at={excerpt(at)}: give one of the two.")
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST:
        raise InvalidMessage(f"delay={excerpt(delay)}: expected seconds, from 0 to a hundred years, or a timedelta.")
    return Due(round(seconds * 1000), absolute=False)


def _at(at: object) -> Due:
    if not isinstance(at, datetime):
        raise InvalidMessage(f"at={excerpt(at)}: expected a datetime; seconds from now are delay=.")
    if timezone.is_naive(at):
        if settings.USE_TZ:
            raise InvalidMessage(f"at={at!r}: expected an aware datetime, as USE_TZ is on; see timezone.make_aware().")
        at = timezone.make_aware(at, timezone.get_default_timezone())
    return Due(max(0, round(at.timestamp() * 1000)), absolute=True)
