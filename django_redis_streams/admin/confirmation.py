"""An action in a request: the question; and once that is confirmed the action, its log entries and its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.contrib import messages as notes
from django.contrib.admin import helpers
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..models import StreamMessage
from .listing import Listing
from .message_actions import Done, MessageAction
from .problems import EXPECTED, error_text

__all__ = ["CONFIRMED", "ask_or_do"]

CONFIRMED: Final = "confirmed"
# How many messages the question names one by one.
_NAMED: Final = 20


def ask_or_do(model_admin: Any, request: HttpRequest, listing: Listing, action: MessageAction) -> HttpResponse | None:
    """Ask for a confirmation by returning a page, or carry out the confirmed action and return None.

    None leads the browser back to the list. It is also returned on an error, and where the action fits no message.
    """
    try:
        found = listing.chosen()
    except EXPECTED as error:
        notes.error(request, error_text(error))
        return None
    _tell_gone(request, len(listing.keys or found) - len(found))
    ready, refused = _parted(found, action)
    _tell_refused(request, refused)
    if not ready:
        return None
    # A confirmation counts only for messages that its question was about.
    if CONFIRMED not in request.POST or listing.keys is None:
        most = listing.most if listing.keys is None and len(found) == listing.most else 0
        return _question(model_admin, request, action, ready, most)
    done = action.carry_out(ready, request.user.get_username())
    _log(request, action, done)
    _tell(request, action, done)
    return None


def _parted(found: Sequence[StreamMessage], action: MessageAction) -> tuple[list[StreamMessage], list[str]]:
    """Return the messages that the action accepts, and for each refused one a text that says why."""
    whys = [action.why_not(message.row) for message in found]
    ready = [message for message, why in zip(found, whys, strict=True) if why is None]
    return ready, [error_text(why) for why in whys if why is not None]


def _question(
    model_admin: Any, request: HttpRequest, action: MessageAction, ready: Sequence[StreamMessage], most: int
) -> HttpResponse:
    counts = Counter((message.stream, message.group) for message in ready)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": action.question(len(ready)) % {"count": len(ready)},
        "opts": model_admin.opts,
        "original": action.button,
        "has_view_permission": True,
        "media": model_admin.media,
        "action": action,
        "counts": sorted((stream, group, count) for (stream, group), count in counts.items()),
        "named": ready[:_NAMED],
        "unnamed": max(0, len(ready) - _NAMED),
        "most": most,
        "keys": [message.pk for message in ready],
        "action_checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        "confirmed": CONFIRMED,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "admin/django_redis_streams/confirmation.html", context)


def _log(request: HttpRequest, action: MessageAction, done: Done) -> None:
    by: Any = request.user.pk
    unanswered = _("%(action)s The server's answer was lost: it may not have happened.") % {"action": action.log}
    for messages, text in ((done.done, str(action.log)), (done.unanswered, unanswered)):
        if messages:
            LogEntry.objects.log_actions(
                user_id=by,
                queryset=messages,
                action_flag=action.flag,
                change_message=text,
            )


def _tell(request: HttpRequest, action: MessageAction, done: Done) -> None:
    if done.done:
        notes.success(request, action.tell(len(done.done)) % {"count": len(done.done)})
    _tell_refused(request, (why for _message, why in done.refused))
    if done.unanswered:
        count = len(done.unanswered)
        text = ngettext(
            "The server's answer for %(count)d message was lost. Look whether it is still there; asking again is safe.",
            "The server's answer for %(count)d messages was lost. Look whether they are still there; asking again "
            "is safe.",
            count,
        )
        notes.error(request, text % {"count": count})


def _tell_refused(request: HttpRequest, whys: Iterable[str]) -> None:
    for why, count in Counter(whys).items():
        text = ngettext(
            "%(count)d message is left as it is. %(why)s", "%(count)d messages are left as they are. %(why)s", count
        )
        notes.warning(request, text % {"count": count, "why": why})


def _tell_gone(request: HttpRequest, count: int) -> None:
    if count:
        text = ngettext(
            "%(count)d message isn't there any more. It was changed or removed in the meantime.",
            "%(count)d messages aren't there any more. They were changed or removed in the meantime.",
            count,
        )
        notes.warning(request, text % {"count": count})
