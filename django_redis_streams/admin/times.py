"""Times and durations as the admin shows them: short, with the exact time in the current time zone beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

_MINUTE = 60

__all__ = ["ago", "duration", "exact", "overdue", "until"]


def ago(moment: datetime | None, now: datetime) -> str:
    """Return the time since a moment, both by the server's clock."""
    return _element(moment, duration(now - moment)) if moment else ""


def until(moment: datetime, now: datetime) -> str:
    """Return the time until a moment, both by the server's clock."""
    left = moment - now
    text = _("in %(duration)s") % {"duration": duration(left)} if left > timedelta(0) else _("now")
    return _element(moment, text)


def overdue(moment: datetime, now: datetime) -> str:
    """Return for how long something has been overdue since a moment, both by the same clock."""
    return _element(moment, _("overdue for %(duration)s") % {"duration": duration(now - moment)})


def exact(moment: datetime | None) -> str:
    """Return date, time to the millisecond, and time zone."""
    if moment is None:
        return ""
    local = timezone.localtime(moment)
    time = f"{local:%H:%M:%S}.{local.microsecond // 1000:03} {local:%Z}"
    return f"{formats.date_format(local, 'DATE_FORMAT')}, {time}"


def duration(length: timedelta) -> str:
    """Return a duration as one number and its unit."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < _MINUTE:
        return ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}
    now = datetime.now(UTC)  # any moment would do: of months and years it decides the length
    return timesince(now - min(length, now - datetime(1970, 1, 1, tzinfo=UTC)), now, depth=1)


def _element(moment: datetime, text: str) -> str:
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact(moment), text)
