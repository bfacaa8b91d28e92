"""What a person does with unsent messages: find them, have them sent now, discard them."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models.functions import Now

from django_redis_streams.outbox import actions
from django_redis_streams.outbox.actions import discard, find, send_now, stuck
from django_redis_streams.outbox.databases import TableMissing
from django_redis_streams.outbox.models import OutboxMessage

from .support import unsent

VERBS = (send_now, discard)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("streams")]


def keys() -> set[int]:
    """The keys of all rows."""
    return set(OutboxMessage.objects.values_list("pk", flat=True))


def due() -> set[int]:
    """The keys of the unsent rows that the relay would send now."""
    return set(OutboxMessage.objects.filter(sent_at=None, next_try_at__lte=Now()).values_list("pk", flat=True))


def test_both_verbs_leave_what_is_being_sent_or_sent() -> None:
    """They return the keys of what they did; what nobody is sending is stuck."""
    refused, sending, kept, late = unsent.refused(), unsent.sending(), unsent.sent(), unsent.row()
    held = unsent.held()
    every, done = sorted(keys()), [refused.pk, late.pk, held.pk]
    assert stuck("default") == 3
    assert send_now("default", every, by="ann") == done
    assert due() == set(done)
    assert discard("default", every, by="ann") == done
    assert keys() == {sending.pk, kept.pk}
    assert stuck("default") == 0


def test_rows_are_found_by_row_by_message_and_by_stream() -> None:
    """Those that aren't sent."""
    first, second, other = unsent.row(), unsent.sending(), unsent.row(stream="tomorrows")
    kept = unsent.sent()
    assert find("default") == [first.pk, second.pk, other.pk]
    assert find("default", stream="tomorrows") == [other.pk]
    assert find("default", ids=[str(first.pk), second.message_id, str(kept.pk), "²", "nonsense"]) == [
        first.pk,
        second.pk,
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_what_only_waits_behind_it_is_due(verb: Callable[..., list[int]]) -> None:
    """Not what waits behind another key, nor what was refused itself. The number of attempts stays."""
    refused, held = unsent.refused(key="k"), unsent.held(key="k")
    another, twice = unsent.held(key="another"), unsent.refused(key="k")
    assert verb("default", [refused.pk], by="ann") == [refused.pk]
    assert due() == {held.pk} | ({refused.pk} if verb is send_now else set())
    assert {another.pk, twice.pk} <= keys()
    assert set(OutboxMessage.objects.filter(pk=refused.pk).values_list("attempts", flat=True)) <= {2}


@pytest.mark.parametrize(("verb", "word"), [(send_now, "made due"), (discard, "discarded")])
def test_who_did_it_is_logged(verb: Callable[..., list[int]], word: str, caplog: pytest.LogCaptureFixture) -> None:
    """For each message that it was done to."""
    row, _ = unsent.refused(), unsent.sending()
    with caplog.at_level(logging.INFO, "django_redis_streams"):
        verb("default", keys(), by="ann")
    (said,) = caplog.messages
    assert said == f"Unsent message {row.message_id} of stream 'orders' was {word} by 'ann'."


@pytest.mark.parametrize("verb", VERBS)
def test_any_number_of_rows_is_done(verb: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Some at once; a row that is named twice counts once."""
    monkeypatch.setattr(actions, "_AT_ONCE", 2)
    named = [unsent.refused().pk for _ in range(5)]
    assert verb("default", [*named, *named], by="ann") == named


@pytest.mark.parametrize("ask", [*VERBS, find, stuck])
def test_a_table_that_is_missing_is_told_of(table_gone: None, ask: Callable[..., Any]) -> None:
    """As an error of this package's."""
    arguments: dict[str, Any] = {"ids": [1], "by": "ann"} if ask in VERBS else {}
    with pytest.raises(TableMissing, match="has no table for the outbox"):
        ask("default", **arguments)


@pytest.mark.parametrize("odd", ["9" * 19, "9" * 5_000, "\0", "\udcff", "0" * 400, "-1"])
def test_whatever_is_asked_for_is_an_answer(odd: str) -> None:
    """A database takes no such number and no such text: there is no such row."""
    row = unsent.row()
    assert find("default", ids=[odd]) == find("default", stream=odd) == []
    assert find("default", ids=[odd, str(row.pk)]) == [row.pk]
