"""One consumer on a real server: what becomes of each message."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_redis_streams import handlers
from django_redis_streams.exceptions import Reject, Retry
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.wire import uncarry

from .servers import Server
from .waiting import wait_until
from .workers import drain, working

Raw = Any


@pytest.fixture(autouse=True)
def _isolated(streams: Callable[..., None]) -> Iterator[None]:
    with handlers.isolated():
        yield


@pytest.fixture
def raw(server: Server) -> Raw:
    return server.raw()


def totals(raw: Raw, group: str = "billing") -> dict[str, int]:
    return {name: int(value) for name, value in raw.hgetall(f"{{orders}}:totals:{group}").items()}


def test_a_message_is_handled_and_acknowledged(raw: Raw) -> None:
    """A handler that returns has its message acknowledged, and counted."""
    seen: list[Message] = []
    handler("orders", group="billing")(seen.append)
    raw.xadd("orders", {"order_id": "ord_123", "total": "99.99"})
    drain()
    assert [each.payload for each in seen] == [{"order_id": "ord_123", "total": "99.99"}]
    assert raw.xpending("orders", "billing")["pending"] == 0
    assert totals(raw) == {"acknowledged": 1}


def test_a_failed_message_is_retried_and_then_dead_lettered(raw: Raw, streams: Any) -> None:
    """After MAX_RETRIES retries it is in the dead letter queue, with what is known of its failure."""
    streams({"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 2, "BACKOFF": (0.01, 0.02)}}}})
    seen: list[int] = []

    @handler("orders", group="billing")
    def fail(message: Message) -> None:
        seen.append(message.attempt)
        raise RuntimeError("no luck")

    raw.xadd("orders", {"a": "1", "b": "2"})
    with working():
        wait_until(lambda: raw.xlen("{orders}:dlq"))
    assert seen == [1, 2, 3]
    carried, fields = uncarry([part for pair in raw.xrange("{orders}:dlq")[0][1].items() for part in pair])
    assert (carried.group, carried.attempt, carried.reason) == ("billing", 3, "retries exhausted")
    assert carried.error == "RuntimeError: no luck"
    assert "raise RuntimeError" in carried.traceback
    assert fields == ["a", "1", "b", "2"]
    assert totals(raw) == {"retried": 2, "dead-lettered": 1}
    assert raw.xlen("{orders}:redelivery:billing") == 0
    assert raw.zcard("{orders}:retry:billing") == raw.hlen("{orders}:retry:billing:entries") == 0


def test_reject_dead_letters_at_once(raw: Raw) -> None:
    """A handler that raises Reject is not run again."""

    @handler("orders", group="billing")
    def charge(message: Message) -> None:
        raise Reject("nothing to charge")

    raw.xadd("orders", {"a": "1"})
    drain()
    assert totals(raw) == {"dead-lettered": 1}


def test_retry_without_count_uses_up_no_retry(raw: Raw, streams: Any) -> None:
    """Retry(count=False) may be raised more often than MAX_RETRIES."""
    streams({"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0}}}})
    seen: list[int] = []

    @handler("orders", group="billing")
    def charge(message: Message) -> None:
        seen.append(message.attempt)
        if len(seen) < 4:
            raise Retry(delay=0, count=False)

    raw.xadd("orders", {"a": "1"})
    with working():
        wait_until(lambda: totals(raw).get("acknowledged"))
    assert seen == [1, 1, 1, 1]
