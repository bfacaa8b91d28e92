"""`drain()` sends what waits in the outbox: in a test there is no relay."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import SimpleTestCase

from django_redis_streams import handler, publish
from django_redis_streams.exceptions import ServerRefused
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.testing import drain, isolated

from .support import unsent

Raw = Any
STREAMS = {"orders": {"OUTBOX": "always", "GROUPS": {"billing": {}}}}
NOWHERE = {"URL": "unix:///no/such/server"}

pytestmark = pytest.mark.usefixtures("isolated_handlers")


@pytest.fixture
def handled() -> list[Any]:
    """The payloads that a handler got."""
    found: list[Any] = []

    @handler("orders", group="billing")
    def note(message: Any) -> None:
        found.append(message.payload)

    return found


@pytest.fixture(params=["fake", "embedded"])
def isolated_server(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    """Each server that a project's tests may have."""
    settings.REDIS_STREAMS = {**settings.REDIS_STREAMS, "STREAMS": STREAMS}
    with isolated(request.param):
        yield


@pytest.mark.django_db
def test_what_waits_is_sent_whoever_had_its_turn(isolated_server: None, handled: list[Any]) -> None:
    """Its publisher's lease, and the wait for the next try, say nothing here; the order is that of the rows."""
    unsent.row("due")
    unsent.sending(payload="sending")
    unsent.refused(payload="refused", key="k")
    unsent.held(payload="held", key="k")
    assert drain().acknowledged == 4
    assert handled == ["due", "sending", "refused", "held"]
    assert not OutboxMessage.objects.exists()
    assert drain().settled == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", ["always", "fallback"])
def test_what_was_published_while_the_server_was_away_is_handled(
    streams: Callable[..., None], handled: list[Any], mode: str
) -> None:
    """In a transaction, and outside of one."""
    declared = {"orders": {**STREAMS["orders"], "OUTBOX": mode}}
    streams(declared, **NOWHERE)
    with transaction.atomic():
        publish("orders", "within")
    publish("orders", "outside")
    streams(declared)
    assert drain(raise_errors=True).acknowledged == 2
    assert sorted(handled) == ["outside", "within"]


@pytest.mark.django_db
def test_what_a_handler_leaves_in_the_outbox_is_handled(isolated_server: None) -> None:
    """As what it publishes."""
    found: list[Any] = []

    @handler("orders", group="billing")
    def note(message: Any) -> None:
        found.append(message.payload)
        if message.payload == "first":
            unsent.row("second")

    unsent.row("first")
    assert drain(raise_errors=True).acknowledged == 2
    assert found == ["first", "second"]


@pytest.mark.django_db
def test_a_message_that_cannot_be_sent_is_raised(streams: Callable[..., None], raw: Raw, handled: list[Any]) -> None:
    """As what else the server refuses; its row stays."""
    streams(STREAMS)
    raw.set("orders", "taken")
    row = unsent.row("refused")
    with pytest.raises(ServerRefused, match=f"{row.message_id} of the outbox can't be sent to 'orders': .*WRONGTYPE"):
        drain()
    assert OutboxMessage.objects.get().attempts == 1


def test_a_test_without_a_database_drains(isolated_server: None, handled: list[Any]) -> None:
    """It may not be asked, so nothing waits there."""
    publish("orders", 1)
    assert drain().acknowledged == 1
    assert handled == [1]


class WithoutDatabases(SimpleTestCase):
    """Django forbids the databases, too."""

    def test_it_drains(self) -> None:
        """As above, in Django's own way."""

        @handler("orders", group="billing")
        def note(_: Any) -> None: ...

        declared = {"CONNECTIONS": {"default": NOWHERE}, "STREAMS": STREAMS}
        with self.settings(REDIS_STREAMS=declared), isolated("fake"):
            publish("orders", 1)
            assert drain().acknowledged == 1
