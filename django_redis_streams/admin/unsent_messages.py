"""Unsent messages in the admin, where the outbox is installed: to be looked at, sent now, discarded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.models import CHANGE
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..exceptions import StreamsError
from ..inspection import MessageRecord
from ..keys import DEFAULT_LANE
from ..outbox.actions import discard, send_now
from ..outbox.databases import aliases, every_database
from ..outbox.listing import UnsentMessage, find_unsent, list_unsent
from ..outbox.models import OutboxMessage
from ..outbox.standing import Standing
from ..store.operate.bulk import Answers
from .filters import DatabaseFilter, StandingFilter, StreamFilter
from .identity import join
from .message_actions import DISCARD, MessageAction, Target
from .message_admin import MessageAdmin, as_action
from .message_page import Fact
from .sources import Identity, MessageSource
from .text import breakable, shortened
from .times import ago, exact, overdue, until

__all__ = ["UnsentMessageAdmin"]

# The digits of the largest key of a row.
_DIGITS: Final = 18
# In characters, of an error in the list: the server's words after those that name the stream.
_LONGEST_ERROR: Final = 300


@dataclass(frozen=True, kw_only=True)
class _Outbox(MessageSource):
    """The rows of all databases. A row's key names its database first."""

    def instance(self, row: Any) -> Any:
        """Return a row as an instance of the model, which nobody saves; the instance's `row` is the row."""
        made: Any = OutboxMessage(
            message_id=shortened(row.message_id), stream=shortened(row.stream), attempts=row.attempts
        )
        made.pk, made.group, made.row = join(row.database, *self.identity(row)), "", row
        return made


def _find(database: str, identities: Sequence[Identity], *, bodies: bool) -> Sequence[MessageRecord]:
    # As the list takes them: one where a router keeps the table out is listed where it is named.
    if database not in every_database():
        return []
    keys = [int(key) for (key,) in identities if key.isascii() and key.isdigit() and len(key) <= _DIGITS]
    return find_unsent(database, keys, bodies=bodies)


def _why_not(row: UnsentMessage) -> StreamsError | None:
    if row.standing is Standing.SENT:
        return StreamsError(_("It is on the server, and is kept only in case the server loses it."))
    if row.standing is Standing.SENDING:
        return StreamsError(_("It is being sent right now."))
    return None


def _asked(verb: Callable[..., list[int]]) -> Callable[[Target, Sequence[Any], str], Answers[Any]]:
    """Return a verb of the outbox as an action calls it: with a database and the keys of rows."""

    def ask(target: Target, keys: Sequence[Any], by: str) -> Answers[Any]:
        done = verb(target[0], keys, by=by)
        why = StreamsError(_("It has been sent in the meantime, or is being sent right now."))
        return Answers(tuple(done), dict.fromkeys(set(keys) - {*done}, why))

    return ask


SEND: Final = MessageAction(
    name="send",
    button=gettext_lazy("Send now"),
    description=gettext_lazy("Send selected %(verbose_name_plural)s now"),
    question=lambda count: ngettext("Send %(count)d unsent message now?", "Send %(count)d unsent messages now?", count),
    consequence=gettext_lazy(
        "The relay of a worker sends each message at its next look, within seconds, instead of at its next try. What "
        "the server refuses again is tried again later."
    ),
    tell=lambda count: ngettext(
        "%(count)d unsent message is sent at the relay's next look.",
        "%(count)d unsent messages are sent at the relay's next look.",
        count,
    ),
    log=gettext_lazy("Sent before its next try."),
    flag=CHANGE,
    target=lambda row: (row.database,),
    identity=lambda row: row.pk,
    ask=_asked(send_now),
    why_not=_why_not,
)

DISCARD_UNSENT: Final = replace(
    DISCARD,
    question=lambda count: ngettext("Discard %(count)d unsent message?", "Discard %(count)d unsent messages?", count),
    consequence=gettext_lazy(
        "Discarded messages are deleted for good, though what they tell of was saved. They are never sent, so no "
        "group gets them. They can't be brought back."
    ),
    tell=lambda count: ngettext(
        "%(count)d unsent message was discarded.", "%(count)d unsent messages were discarded.", count
    ),
    target=lambda row: (row.database,),
    identity=lambda row: row.pk,
    ask=_asked(discard),
    why_not=_why_not,
)

_STANDINGS: Final[Mapping[Standing, tuple[Any, Any]]] = {
    Standing.SENDING: (gettext_lazy("sending"), gettext_lazy("by the process that published it")),
    Standing.WAITING: (gettext_lazy("waiting"), gettext_lazy("the relay of a worker sends it")),
    Standing.REFUSED: (gettext_lazy("refused"), gettext_lazy("the server didn't take it; the relay tries again")),
    Standing.SENT: (gettext_lazy("sent"), gettext_lazy("kept in case the server loses it")),
}


@admin.register(OutboxMessage)
class UnsentMessageAdmin(MessageAdmin):
    """Messages that are committed and not on the server, the oldest first."""

    kind = _Outbox(model=OutboxMessage, page=list_unsent, find=_find, identity=lambda row: (str(row.pk),), parts=1)
    message_actions = (SEND, DISCARD_UNSENT)
    actions = (as_action(SEND), as_action(DISCARD_UNSENT))
    list_display = ("message_id", "place", "event", "sort_key", "age", "state", "next_try", "trouble")
    list_filter = (StandingFilter, StreamFilter, DatabaseFilter)
    search_help_text = gettext_lazy("Finds messages with all of these words in their id, type, error or fields.")

    def databases(self) -> Sequence[str]:
        """Return the databases with an outbox."""
        return aliases()

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:  # noqa: ARG002
        """Return the message that a history page is about, without asking its database: the history outlives it."""
        return OutboxMessage(pk=object_id) if self.kind.is_key(object_id) else None

    @admin.display(description=gettext_lazy("stream"))
    def place(self, message: Any) -> str:
        """Return the stream, and where there are several databases the one that has the row."""
        stream, row = breakable(message.row.stream), message.row
        return format_html("{}<br>({})", stream, breakable(row.database)) if len(self.databases()) > 1 else stream

    @admin.display(description=gettext_lazy("key"), empty_value="-")
    def sort_key(self, message: Any) -> str:
        """Return the message's own key: those of one key leave in the order of their rows."""
        return shortened(message.row.sort_key, 40)

    @admin.display(description=gettext_lazy("age"))
    def age(self, message: Any) -> str:
        """Return how long ago it was published."""
        return ago(message.row.created, message.row.read_at)

    @admin.display(description=gettext_lazy("state"))
    def state(self, message: Any) -> str:
        """Return how it stands, and how often it was refused."""
        row: UnsentMessage = message.row
        word = _STANDINGS[row.standing][0]
        if not row.attempts:
            return str(word)
        times = ngettext("%(count)d attempt", "%(count)d attempts", row.attempts) % {"count": row.attempts}
        return format_html("{}<br>{}", word, times)

    @admin.display(description=gettext_lazy("next try"), empty_value="-")
    def next_try(self, message: Any) -> str:
        """Return when it will be tried next, or for how long it should have been."""
        row: UnsentMessage = message.row
        if row.standing in (Standing.SENT, Standing.SENDING):
            return ""
        if row.next_try <= row.read_at:
            return overdue(row.next_try, row.read_at)
        return until(row.next_try, row.read_at)

    @admin.display(description=gettext_lazy("error"), empty_value="-")
    def trouble(self, message: Any) -> str:
        """Return what the server said of it last, or why its row can't be decoded, in one line."""
        return shortened(_trouble(message.row), _LONGEST_ERROR)

    def facts(self, row: Any) -> Iterator[Fact]:
        """Yield how the message stands, and where it goes."""
        yield _("State"), ": ".join(map(str, _STANDINGS[row.standing]))
        yield _("Error"), _trouble(row)
        yield _("Attempts"), str(row.attempts)
        yield _("Next try"), "" if row.sent else exact(row.next_try)
        yield _("Published"), exact(row.created)
        yield _("Sent"), exact(row.sent)
        yield _("Due"), exact(row.due)
        yield _("Stream"), row.stream
        yield _("Lane"), row.lane if row.lane != DEFAULT_LANE else ""
        yield _("Type"), row.type
        yield _("Key"), row.sort_key
        yield _("Entry"), row.published_id
        yield _("Database"), row.database


def _trouble(row: UnsentMessage) -> str:
    return row.fault or row.error
