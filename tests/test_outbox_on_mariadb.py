"""The outbox on MariaDB, which holds texts to be equal that differ in case, in accents or in spaces at their end."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from django_redis_streams import conf
from django_redis_streams.outbox.actions import find
from django_redis_streams.outbox.figures import figures
from django_redis_streams.outbox.kept import delete_kept
from django_redis_streams.outbox.listing import list_unsent
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.outbox.relay import Relay, tell_undeclared
from django_redis_streams.testing.unsent import send_unsent

from .support.servers import Server
from .test_outbox_relay import payloads, relayed, use_server, waiting

Raw = Any
# What MariaDB takes for "orders".
ALIKE = ("Orders", "orders ", "\u00f6rders")


@pytest.fixture(autouse=True)
def _table(request: pytest.FixtureRequest, streams: Callable[..., None]) -> None:
    use_server(request, "mariadb")
    streams({"orders": {"OUTBOX": "always", "OUTBOX_KEEP": 60}})


def of_stream(name: str, payload: Any = None) -> OutboxMessage:
    """A row of this stream, declared or not, which is due by the clock of MariaDB."""
    (row,) = waiting(payload)
    OutboxMessage.objects.filter(pk=row.pk).update(stream=name)
    return row


def test_the_relay_leaves_a_stream_of_nearly_that_name(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """These settings don't declare it: its messages wait, and hold up no others."""
    for name in ALIKE:
        of_stream(name)
    waiting(2)
    assert sum(each.sent for each in relayed()) == 1
    assert payloads(raw) == [2]
    assert [each.stream for each in OutboxMessage.objects.filter(sent_at=None)] == list(ALIKE)
    with caplog.at_level(logging.WARNING):
        tell_undeclared("default")
    assert {each.stream for each in caplog.records} == set(ALIKE)


def test_two_servers_may_have_streams_of_nearly_one_name(raw: Raw, settings: Any, server: Server) -> None:
    """Each gets its own."""
    settings.REDIS_STREAMS = {
        "CONNECTIONS": {"default": {"URL": server.url}, "second": {"URL": server.url}},
        "STREAMS": {"orders": {"OUTBOX": "always"}, "Orders": {"OUTBOX": "always", "CONNECTION": "second"}},
    }
    of_stream("orders", 1)
    of_stream("Orders", 2)
    for alias in ("default", "second"):
        assert [each.sent for each in relayed(Relay("default", alias))] == [1]
    assert (payloads(raw), payloads(raw, "Orders")) == ([1], [2])


def test_drain_sends_no_stream_of_nearly_that_name(raw: Raw) -> None:
    """As the relay."""
    of_stream("Orders")
    waiting(2)
    assert send_unsent(["default"]) == 1
    assert payloads(raw) == [2]


def test_a_stream_is_told_apart_from_one_of_nearly_that_name() -> None:
    """In figures and lists, and where rows are to be discarded."""
    rows = {name: of_stream(name).pk for name in ("orders", *ALIKE)}
    (database,) = figures()
    assert {name: each.unsent for name, each in database.streams.items()} == dict.fromkeys(rows, 1)
    for name, pk in rows.items():
        assert find("default", stream=name) == [pk]
        assert [each.pk for each in list_unsent(stream=name).rows] == [pk]


def test_rows_are_kept_for_as_long_as_their_own_stream_says() -> None:
    """Not for as long as one of nearly that name: of another release's stream, they are kept for a day."""
    for name in ("orders", *ALIKE):
        of_stream(name)
    OutboxMessage.objects.update(sent_at=Now() - timedelta(seconds=90))
    assert not delete_kept("default", conf.get().streams_of("default"))
    assert {each.stream for each in OutboxMessage.objects.all()} == set(ALIKE)
