"""An operator's actions on waiting messages: retries, delayed messages, and those that a silent consumer holds.

For the admin and for commands. Each may be asked for twice, and is done once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from django.utils.translation import gettext as _

from .. import conf, connections
from ..conf import StreamConfig
from ..connections import Link
from ..exceptions import StreamsError
from ..keys import is_entry_id
from ..store.consume.membership import RETURNED
from ..store.observe.sources import Pending, source_kinds
from ..store.operate import waiting
from ..store.operate.bulk import Answers, run_in_chunks

__all__ = ["discard_delayed", "discard_retries", "publish_delayed", "release"]

logger = logging.getLogger("django_redis_streams")

Entry = tuple[str, str, str]


def discard_retries(stream: str, group: str, tokens: Sequence[str], *, by: str) -> Answers[str]:
    """Delete retries of a group for good, and count them; logged with the user's name, `by`.

    The group needn't be declared any more. Raises `UnknownStream`, also for a name that no group may have.
    """
    config = conf.stream(stream)
    name = conf.any_group(stream, group).name
    link = connections.get(config.connection)
    answers = run_in_chunks(
        tokens,
        lambda some: some,
        lambda some: waiting.discard_retries(link, config, name, some),
        gone=_("It isn't there any more. It was run again or discarded in the meantime."),
    )
    for token in answers.done:
        logger.info(
            "Retry %s of %s:%s was discarded by %r.", token, stream, group, by,
            extra={"stream": stream, "group": group, "retry": token, "by": by},
        )  # fmt: skip
    return answers


def publish_delayed(stream: str, tokens: Sequence[str], *, by: str) -> Answers[str]:
    """Put delayed messages onto their stream now, each into its lane; logged with the user's name, `by`.

    Raises `UnknownStream`.
    """
    return _delayed("published", stream, tokens, waiting.publish_delayed, by)


def discard_delayed(stream: str, tokens: Sequence[str], *, by: str) -> Answers[str]:
    """Delete delayed messages for good; logged with the user's name, `by`. Raises `UnknownStream`."""
    return _delayed("discarded", stream, tokens, waiting.discard_delayed, by)


def release(stream: str, group: str, entries: Sequence[Entry], *, by: str) -> Answers[Entry]:
    """Give pending entries back to the workers; each is (its `source`, entry id, consumer that holds it).

    The next free worker claims them at once; the delivery counts as the first. Refused for an entry that its consumer
    got or renewed within the group's CLAIM_IDLE: it may be running the message now. A message whose body is gone is
    acknowledged instead, as nobody can run it. Logged with the user's name, `by`. Raises `UnknownStream` for a stream
    or group that isn't declared.
    """
    config, declared = conf.stream(stream), conf.group(stream, group)
    link = connections.get(config.connection)

    def located(some: Sequence[Entry]) -> list[Entry | StreamsError]:
        return [_located(config, group, *each) for each in some]

    answers = run_in_chunks(
        entries,
        located,
        lambda some: waiting.release(link, config, declared, some),
        gone=_("Its consumer was active again, or the message was settled in the meantime."),
    )
    for place, entry_id, consumer in answers.done:
        logger.info(
            "Pending message %s in %s of %s:%s, held by %r, was released by %r.",
            entry_id, place, stream, group, consumer, by,
            extra={"stream": stream, "group": group, "entry_id": entry_id, "consumer": consumer, "by": by},
        )  # fmt: skip
    return answers


def _delayed(
    what: str,
    stream: str,
    tokens: Sequence[str],
    do: Callable[[Link, StreamConfig, Sequence[str]], Sequence[Any]],
    by: str,
) -> Answers[str]:
    config = conf.stream(stream)
    link = connections.get(config.connection)
    answers = run_in_chunks(
        tokens,
        lambda some: some,
        lambda some: do(link, config, some),
        gone=_("It isn't there any more. It was published or discarded in the meantime."),
    )
    for token in answers.done:
        logger.info(
            "Delayed message %s of %s was %s by %r.", token, stream, what, by,
            extra={"stream": stream, "delayed": token, "by": by},
        )  # fmt: skip
    return answers


def _located(stream: StreamConfig, group: str, source: str, entry_id: str, consumer: str) -> Entry | StreamsError:
    if consumer == RETURNED:
        return StreamsError(_("It was released before. The next free worker claims it."))
    if not is_entry_id(entry_id):
        return StreamsError(_("%(id)r isn't an entry's id. Expected one such as '1700000000000-0'.") % {"id": entry_id})
    if source not in source_kinds(stream):
        return StreamsError(
            _("%(source)r: expected one of the streams that the group reads, such as 'main'.") % {"source": source}
        )
    return Pending(stream, group, source).key, entry_id, consumer
