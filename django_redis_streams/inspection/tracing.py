"""Tracing one message: from any of its ids to its entry, and to where it stands for each group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from .. import conf, connections, wire
from ..conf import StreamConfig
from ..connections import Link
from ..keys import DEFAULT_LANE, EntryId, is_entry_id, split_token
from ..message import made_at
from ..store.consume.groups import delivered_to
from ..store.observe import entries as store
from ..store.observe.bounded import Entry
from ..store.observe.contents import length
from ..store.observe.sources import MAIN, REDELIVERY, Pending, group_names
from ..wire import Fields
from ..wire.names import is_uuid
from .lists import dead_letters, retrying
from .paging import Page
from .records import DeadLetter, MessageRecord, RetryingMessage
from .single import find_dead_letters, find_delayed, find_pending
from .story import Looked, Standing, State, Story

__all__ = ["story"]

F = TypeVar("F", RetryingMessage, DeadLetter)

# How long before a message's own time its entry may be, in ms: the producer's clock may be ahead.
_SKEW_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """Where a message was published, as far as it is known."""

    lane: str = DEFAULT_LANE
    key: str = ""
    entry_id: str = ""
    message_id: str = ""
    fields: Fields | None = None

    def is_of(self, row: MessageRecord) -> bool:
        """Return whether a row is about this message."""
        if self.message_id:
            return row.message_id == self.message_id
        return row.published_id == self.entry_id


def story(stream: str, identity: str, *, most: int = 50_000) -> Story:
    """Return all that is known of a message, by the id of its entry, the id of its dead letter, or its own id.

    An entry's id finds it at once. Its own id is looked for in up to `most` entries of each lane, around the time in
    the id; redelivered entries, retries and dead letters are searched in the same way. Raises `ValueError` for a text
    that can't be an id, `UnknownStream`, `ServerUnreachable`, and redis-py's `ResponseError`.
    """
    return _Search(conf.stream(stream), most).story(identity)


class _Search:
    """One search for one message."""

    def __init__(self, config: StreamConfig, most: int) -> None:
        self._config = config
        self._link: Link = connections.get(config.connection)
        self._most = most
        self._looked: list[Looked] = []

    def story(self, identity: str) -> Story:
        published = self._published(identity)
        failed = self._failed(published, published.message_id or identity)
        if published.fields is None and not published.key and failed:
            published = self._told_by(failed[0])
        again = self._redelivered(published)
        groups = group_names(self._link, [self._config])[0]
        groups += [name for name in dict.fromkeys(each.group for each in failed) if name not in groups]
        (delayed,) = find_delayed(self._config.name, [published.message_id or identity])
        return Story(
            stream=self._config.name,
            lane=published.lane,
            key=published.key,
            message_id=published.message_id,
            entry_id=published.entry_id,
            fields=published.fields,
            delayed=None if delayed is None else delayed.due,
            groups=self._standings(published, groups, failed, again),
            looked=tuple(self._looked),
        )

    # ------------------------------------------------------------ where it was published

    def _published(self, identity: str) -> _Published:
        key, entry_id = split_token(identity)
        if is_entry_id(identity):
            return self._by_entry(identity)
        if is_entry_id(entry_id) and key in self._keys:
            return self._at(key, entry_id)
        if is_uuid(identity):
            return self._by_message(identity)
        raise ValueError(
            f"{identity!r}: expected the id of an entry or a dead letter, such as '1700000000000-0', or of a message, "
            "such as '018f3f3e-0000-7000-8000-000000000000' or 'orders/1700000000000-0'."
        )

    @property
    def _keys(self) -> dict[str, str]:
        """The streams of the lanes, each with its lane."""
        return {self._config.keys.lane(lane): lane for lane in self._config.lane_names}

    def _by_entry(self, entry_id: str) -> _Published:
        for key in self._keys:
            if (found := self._at(key, entry_id)).fields is not None:
                return found
        (letter,) = find_dead_letters(self._config.name, [entry_id])
        return self._told_by(letter) if letter is not None and letter.native else _Published(entry_id=entry_id)

    def _at(self, key: str, entry_id: str) -> _Published:
        fields = store.body(self._link, key, entry_id)
        identity = wire.message_id(key, entry_id, fields or ())
        return _Published(lane=self._keys[key], key=key, entry_id=entry_id, message_id=identity, fields=fields)

    def _told_by(self, row: MessageRecord) -> _Published:
        """Return where a message was published, by its row; the entry may still be on the stream."""
        known = _Published(lane=row.lane, key=row.key, entry_id=row.published_id, message_id=row.message_id)
        if row.key not in self._keys or not is_entry_id(row.published_id):
            return known
        return replace(known, fields=store.body(self._link, row.key, row.published_id))

    def _by_message(self, identity: str) -> _Published:
        before = len(self._looked)
        for key in self._keys:
            for likely in self._likely(key, identity):
                searched = 0
                for entry_id, _, fields in likely:
                    searched += 1
                    if wire.message_id(key, entry_id, fields) == identity:
                        del self._looked[before:]  # it was found all the same
                        return replace(self._at(key, entry_id), message_id=identity)
                self._note(key, searched)
        return _Published(message_id=identity)

    def _likely(self, key: str, identity: str) -> Iterator[Iterator[Entry]]:
        """Yield the entries that may hold a message: those around the time in its id; without a time, the newest."""
        if identity[14] != "7":
            yield store.backward(self._link, key, "+", "-", self._most)
            return
        made = int(made_at(identity).timestamp() * 1000)
        yield store.onward(self._link, key, str(made), self._most)
        yield store.backward(self._link, key, str(max(0, made - 1)), str(max(0, made - _SKEW_MS)), self._most)

    def _note(self, key: str, searched: int) -> None:
        """Note a search that ended at its limit, and may have missed the message."""
        if searched == self._most:
            self._looked.append(Looked(key, searched, length(self._link, key)))

    # ------------------------------------------------------------ where it is now

    def _failed(self, published: _Published, text: str) -> list[RetryingMessage | DeadLetter]:
        """Return the message's retries, then its dead letters."""
        name = self._config.name
        return [
            *self._matching(published, "retries", partial(retrying, stream=name, text=text)),
            *self._matching(published, "dead letters", partial(dead_letters, stream=name, text=text)),
        ]

    def _matching(self, published: _Published, source: str, listing: Callable[..., Page[F]]) -> Iterator[F]:
        """Yield the rows of a listing that are about this message, from as many pages as may be searched."""
        searched, after = 0, None
        while True:
            page = listing(after=after)
            for problem in page.problems:
                raise problem.error
            yield from (row for row in page.rows if published.is_of(row))
            searched, after = searched + page.searched, page.next
            if after is None:
                return
            if searched >= self._most:
                self._looked.append(Looked(source, searched, page.total))
                return

    def _redelivered(self, published: _Published) -> dict[str, tuple[str, str]]:
        """Return, for each group that it was redelivered to, the source and the entry id there."""
        found: dict[str, tuple[str, str]] = {}
        for group in group_names(self._link, [self._config])[0]:
            for source in Pending.of(self._config, group):
                if source.kind.startswith(REDELIVERY) and (entry_id := self._among(source, published)):
                    found[group] = source.kind, entry_id
        return found

    def _among(self, source: Pending, published: _Published) -> str | None:
        searched = 0
        for entry_id, _, fields in store.onward(self._link, source.key, "-", self._most):
            searched += 1
            native = wire.split_metadata(fields)
            if native is not None and published.message_id == native[0].id:
                return entry_id
        self._note(source.key, searched)
        return None

    def _standings(
        self,
        published: _Published,
        groups: Sequence[str],
        failed: Sequence[RetryingMessage | DeadLetter],
        again: dict[str, tuple[str, str]],
    ) -> list[Standing]:
        main = MAIN if published.lane == DEFAULT_LANE else f"{MAIN}:{published.lane}"
        sources = [(group, *again.get(group, (main, published.entry_id))) for group in groups]
        held = dict(zip(groups, find_pending(self._config.name, sources), strict=True))
        standing: dict[str, Standing] = {}
        for row in failed:
            # Never both, except while it moves: then the retry, which comes first, counts.
            state = State.RETRYING if isinstance(row, RetryingMessage) else State.DEAD
            standing.setdefault(row.group, Standing(row.group, state, row))
        standing |= {group: Standing(group, State.REDELIVERED) for group in again}
        standing |= {group: Standing(group, State.PENDING, row) for group, row in held.items() if row is not None}
        rest = self._by_position(published, [group for group in groups if group not in standing])
        return [standing.get(group) or Standing(group, rest[group]) for group in groups]

    def _by_position(self, published: _Published, groups: Sequence[str]) -> dict[str, State]:
        """Return the state of a message that is nowhere else, by how far each group has read its lane."""
        if not published.key or not published.entry_id:
            return dict.fromkeys(groups, State.UNKNOWN)
        read = delivered_to(self._link, published.key)
        begun = store.starts(self._link, self._config, groups, published.lane)
        here = EntryId.of(published.entry_id)
        states = {}
        for group, start in zip(groups, begun, strict=True):
            if group not in read:
                states[group] = State.NO_GROUP
            elif here > EntryId.of(read[group]):
                states[group] = State.UNREAD
            elif start is not None and is_entry_id(start) and here <= EntryId.of(start):
                states[group] = State.BEFORE
            else:
                states[group] = State.UNKNOWN if self._looked else State.SETTLED
        return states
