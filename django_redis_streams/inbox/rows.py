"""Rows of the inbox: inserting them, and telling which were there before; deleting them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from django.db import DatabaseError, connections, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from ..message import Message
from ..querying import check_commits, delete, exactly
from .inserting import Key, Rows, inserted, model, short
from .presence import missing_table

__all__ = ["delete_old", "forget", "insert", "key_of"]

# The ids that this package makes, which begin with their time.
_is_own_id: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").fullmatch


def key_of(message: Message) -> Key:
    """Return what tells a message from all others, for its group: a hash of all that makes it.

    The ids that `publish` makes begin with their time, and their keys with the same: so new rows stand side by side in
    the table's index, however large it is.

    It is a UUID of version 8, as RFC 9562 has it for such; "b" says so too. MariaDB's type takes not all that aren't,
    nor "80" in that place, and INSERT IGNORE makes one and the same row of those: their messages would never run.
    """
    identity = message.id
    hashed = _begun(message.stream, message.group).copy()
    hashed.update(identity.encode(errors="surrogatepass"))
    key: Key = hashed.hexdigest()
    begin = identity[:8] + identity[9:13] if _is_own_id(identity) else key[:12]
    return f"{begin}8{key[13:16]}b{key[17:]}"


@lru_cache
def _begun(stream: str, group: str) -> Any:
    """Return the hash of a group, which a message's id is added to."""
    # With their lengths, no two pairs of names make one text.
    return blake2b(f"{len(stream)}:{stream}{len(group)}:{group}".encode(errors="surrogatepass"), digest_size=16)


def insert(messages: Sequence[Message], using: str) -> list[Message]:
    """Insert a row for each message of a group; return those that weren't there, of several with one id the first.

    It is called in a transaction. Raises `ConfigurationError` where the table is missing.
    """
    first: dict[Key, Message] = {}
    for each in messages:
        first.setdefault(key_of(each), each)
    # All insert in one order, so that no two wait for each other.
    keys = sorted(first)
    rows = Rows(messages[0].stream, messages[0].group, {key: first[key].id for key in keys})
    try:
        new = set(inserted(connections[using], rows, keys))
    except DatabaseError as error:
        if (missing := missing_table(error, using)) is not None:
            raise missing from error
        raise
    return [message for key, message in first.items() if key in new]


def forget(messages: Sequence[Message], using: str) -> None:
    """Delete the rows of these messages, which are to run again."""
    delete(_rows(using).filter(pk__in=list(map(key_of, messages))))


def delete_old(stream: str, group: str, seconds: float, using: str, most: int) -> int:
    """Delete up to `most` rows of a group that are older than so many seconds; return how many there were.

    Rows that another worker deletes in this moment are left to it where the database can tell. Raises
    `NotSupportedError` where nothing would be committed.
    """
    check_commits(using)
    ends = Now() - timedelta(seconds=seconds)
    old = _rows(using).filter(stream=short(stream), group=short(group), created_at__lt=ends)  # by the index
    old = old.filter(exactly("stream", [short(stream)]), exactly("group", [short(group)]))
    with transaction.atomic(using=using):
        if connections[using].features.has_select_for_update_skip_locked:
            old = old.select_for_update(skip_locked=True)
        found = list(old.order_by("created_at").values_list("pk", flat=True)[:most])
        if found:
            delete(_rows(using).filter(pk__in=found))
    return len(found)


def _rows(using: str) -> QuerySet[Any]:
    return QuerySet(model(), using=using)
