"""The page of one message: its facts, its payload and fields, and the actions on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.contrib.admin import helpers
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..inspection import MessageRecord
from ..keys import DEFAULT_LANE
from ..models import StreamMessage
from .message_actions import MessageAction
from .problems import error_text
from .text import visible
from .times import exact

__all__ = ["Fact", "common_facts", "message_page"]

# A label and a text; a fact with an empty text isn't shown.
Fact = tuple[Any, str]

# Longer texts are cut, and the page says so.
_LONGEST: Final = 100_000


def common_facts(row: MessageRecord) -> Iterator[Fact]:
    """Yield the facts that every kind of message shows."""
    yield _("Stream"), row.stream
    yield _("Group"), row.group
    yield _("Lane"), row.lane if row.lane != DEFAULT_LANE else ""
    yield _("Type"), row.type
    yield _("Attempts"), str(row.attempts)
    yield _("Handler"), row.handler
    yield _("Error"), row.error
    yield _("First failed"), exact(row.first_failed)
    yield _("Last failed"), exact(row.last_failed)
    yield _("Replays"), _replays(row)
    yield _("Edited by"), row.edited_by
    yield _("Original payload"), row.original_payload
    yield _("Published as"), f"{row.key} {row.published_id}"


def message_page(model_admin: Any, request: HttpRequest, message: StreamMessage) -> HttpResponse:
    """Return a message's page in Django's own frame for a changed object: its breadcrumbs, its link to the history."""
    row = message.row
    context = {
        **model_admin.admin_site.each_context(request),
        "title": capfirst(model_admin.opts.verbose_name),
        "subtitle": message.message_id,
        "opts": model_admin.opts,
        "original": message,
        "change": True,
        "has_view_permission": True,
        "media": model_admin.media,
        "preserved_filters": model_admin.get_preserved_filters(request),
        "list_url": model_admin.url_of("changelist"),
        "message_actions": [
            (action, _why_not(action, row))
            for action in model_admin.message_actions
            if model_admin.may(request, action.name)
        ],
        "action_checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        "facts": [(label, _shown(text)) for label, text in model_admin.facts(row) if text],
        "payload": _shown(row.payload),
        "fields": [(_shown(name), _shown(value)) for name, value in row.pairs],
        "no_body": row.fields is None,
        "traceback": _shown(row.traceback),
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "admin/django_redis_streams/message.html", context)


def _why_not(action: MessageAction, row: Any) -> str:
    why = action.why_not(row)
    return error_text(why) if why else ""


def _replays(row: MessageRecord) -> str:
    if not row.replays:
        return ""
    text = ngettext("%(count)d, by %(user)s", "%(count)d, the last by %(user)s", row.replays)
    return text % {"count": row.replays, "user": row.replayed_by}


def _shown(text: str) -> str:
    """Return a text made visible, and cut if it is too long for a page."""
    if len(text) <= _LONGEST:
        return visible(text)
    return visible(text[:_LONGEST]) + "\n" + _("… (%(count)d characters more)") % {"count": len(text) - _LONGEST}
