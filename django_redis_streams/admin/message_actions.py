"""The actions on messages, as values: the permission, the question, the function, the report.

Commands call the same functions. This module only says which messages each function gets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.contrib.admin.models import CHANGE, DELETION
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from .. import conf
from ..exceptions import NotReplayable, StreamsError
from ..inspection import DeadLetter, PendingMessage
from ..models import StreamMessage
from ..operations import dead_letters, waiting
from ..store.operate.bulk import Answers
from .problems import EXPECTED, error_text

__all__ = ["DISCARD", "DISCARD_DELAYED", "DISCARD_RETRY", "PUBLISH", "RELEASE", "REPLAY", "Done", "MessageAction"]

# A stream, or a stream and a group: one call of a function is about one target.
Target = tuple[str, ...]


@dataclass(slots=True)
class Done:
    """What became of messages: done, refused (each with the reason), or unanswered."""

    done: list[StreamMessage] = field(default_factory=list)
    refused: list[tuple[StreamMessage, str]] = field(default_factory=list)
    unanswered: list[StreamMessage] = field(default_factory=list)

    def add(self, messages: Mapping[Any, StreamMessage], answers: Answers[Any]) -> None:
        """Add some answers."""
        self.done += [messages[each] for each in answers.done]
        self.refused += [(messages[each], error_text(why)) for each, why in answers.refused.items()]
        self.unanswered += [messages[each] for each in answers.unanswered]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAction:
    """One action.

    `name` is the action's name, and with the model's name that of the permission. `description` is its line in the
    action list. `question` and `tell` take the number of messages. `flag` and `log` are for LogEntry.
    `why_not` returns why a row would be refused, or None.
    """

    name: str
    button: Any
    description: Any
    question: Callable[[int], str]
    consequence: Any
    tell: Callable[[int], str]
    log: Any
    flag: int
    target: Callable[[Any], Target]
    identity: Callable[[Any], Hashable]
    ask: Callable[[Target, Sequence[Any], str], Answers[Any]]
    why_not: Callable[[Any], StreamsError | None]

    def carry_out(self, messages: Sequence[StreamMessage], by: str) -> Done:
        """Run the action on these messages; an error for some holds up no others."""
        targets: dict[Target, dict[Any, StreamMessage]] = defaultdict(dict)
        for message in messages:
            targets[self.target(message.row)][self.identity(message.row)] = message
        result = Done()
        for target, theirs in targets.items():
            try:
                result.add(theirs, self.ask(target, list(theirs), by))
            except EXPECTED as error:
                result.refused += [(message, error_text(error)) for message in theirs.values()]
        return result


def _why_not_replay(row: DeadLetter) -> NotReplayable | None:
    return dead_letters.why_not_replayable(conf.stream(row.stream), row.group, native=row.native)


def _why_not_release(row: PendingMessage) -> StreamsError | None:
    if row.claim_idle is None:
        return StreamsError(
            _("Its group isn't declared in REDIS_STREAMS, so its CLAIM_IDLE is unknown. Declare the group first.")
        )
    if row.returned:
        return StreamsError(_("It was released before. The next free worker claims it."))
    if not row.stale:
        return StreamsError(_("Its consumer was active within CLAIM_IDLE and may be running the message now."))
    return None


REPLAY = MessageAction(
    name="replay",
    button=gettext_lazy("Replay"),
    description=gettext_lazy("Replay selected %(verbose_name_plural)s"),
    question=lambda count: ngettext("Replay %(count)d dead letter?", "Replay %(count)d dead letters?", count),
    consequence=gettext_lazy(
        "Each message goes back to the group that it failed in, and to no other. Its handler runs it again, "
        "and its attempts are counted from zero. If it fails again, it is retried and dead-lettered like a "
        "new message."
    ),
    tell=lambda count: ngettext("%(count)d dead letter was replayed.", "%(count)d dead letters were replayed.", count),
    log=gettext_lazy("Replayed."),
    flag=CHANGE,
    target=lambda row: (row.stream,),
    identity=lambda row: row.entry_id,
    ask=lambda target, ids, by: dead_letters.replay(target[0], ids, by=by),
    why_not=_why_not_replay,
)

DISCARD = MessageAction(
    name="discard",
    button=gettext_lazy("Discard"),
    description=gettext_lazy("Discard selected %(verbose_name_plural)s"),
    question=lambda count: ngettext("Discard %(count)d dead letter?", "Discard %(count)d dead letters?", count),
    consequence=gettext_lazy(
        "Discarded dead letters are deleted for good, with everything that is known of them. They can't be "
        "brought back."
    ),
    tell=lambda count: ngettext(
        "%(count)d dead letter was discarded.", "%(count)d dead letters were discarded.", count
    ),
    log=gettext_lazy("Discarded."),
    flag=DELETION,
    target=lambda row: (row.stream,),
    identity=lambda row: row.entry_id,
    ask=lambda target, ids, by: dead_letters.discard(target[0], ids, by=by),
    why_not=lambda _: None,
)

DISCARD_RETRY = replace(
    DISCARD,
    question=lambda count: ngettext(
        "Discard %(count)d retrying message?", "Discard %(count)d retrying messages?", count
    ),
    consequence=gettext_lazy(
        "Discarded messages are deleted for good. Their group never runs them again, though it didn't handle "
        "them. They can't be brought back."
    ),
    tell=lambda count: ngettext(
        "%(count)d retrying message was discarded.", "%(count)d retrying messages were discarded.", count
    ),
    target=lambda row: (row.stream, row.group),
    identity=lambda row: row.token,
    ask=lambda target, tokens, by: waiting.discard_retries(target[0], target[1], tokens, by=by),
)

PUBLISH = MessageAction(
    name="publish",
    button=gettext_lazy("Publish now"),
    description=gettext_lazy("Publish selected %(verbose_name_plural)s now"),
    question=lambda count: ngettext(
        "Publish %(count)d delayed message now?", "Publish %(count)d delayed messages now?", count
    ),
    consequence=gettext_lazy(
        "Each message is published now instead of when it is due. Every group gets it like any new message."
    ),
    tell=lambda count: ngettext(
        "%(count)d delayed message was published.", "%(count)d delayed messages were published.", count
    ),
    log=gettext_lazy("Published before it was due."),
    flag=CHANGE,
    target=lambda row: (row.stream,),
    identity=lambda row: row.token,
    ask=lambda target, tokens, by: waiting.publish_delayed(target[0], tokens, by=by),
    why_not=lambda _: None,
)

DISCARD_DELAYED = replace(
    DISCARD,
    question=lambda count: ngettext("Discard %(count)d delayed message?", "Discard %(count)d delayed messages?", count),
    consequence=gettext_lazy(
        "Discarded messages are deleted for good. They are never published, so no group gets them. They can't "
        "be brought back."
    ),
    tell=lambda count: ngettext(
        "%(count)d delayed message was discarded.", "%(count)d delayed messages were discarded.", count
    ),
    identity=lambda row: row.token,
    ask=lambda target, tokens, by: waiting.discard_delayed(target[0], tokens, by=by),
)

RELEASE = MessageAction(
    name="release",
    button=gettext_lazy("Release"),
    description=gettext_lazy("Release selected %(verbose_name_plural)s"),
    question=lambda count: ngettext("Release %(count)d pending message?", "Release %(count)d pending messages?", count),
    consequence=gettext_lazy(
        "Each message is taken from its silent consumer, and the next free worker of its group runs it at "
        "once. If that consumer is still running it, it is run twice."
    ),
    tell=lambda count: ngettext(
        "%(count)d pending message was released.", "%(count)d pending messages were released.", count
    ),
    log=gettext_lazy("Released."),
    flag=CHANGE,
    target=lambda row: (row.stream, row.group),
    identity=lambda row: (row.source, row.entry_id, row.consumer),
    ask=lambda target, entries, by: waiting.release(target[0], target[1], entries, by=by),
    why_not=_why_not_release,
)
