"""Fixtures of the admin's tests: an empty server, a superuser's browser, and one message of each kind."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_redis_streams import inspection
from tests.support import states

from . import site


@pytest.fixture(autouse=True)
def _empty(db: None, streams: Callable[..., None]) -> None:
    """Begin with an empty server and database."""


@pytest.fixture
def root() -> User:
    """Somebody who may do everything."""
    return User.objects.create_superuser("root")


@pytest.fixture
def browser(root: User) -> Client:
    """A superuser's browser."""
    return site.browser(root)


@pytest.fixture
def keys(raw: Any) -> dict[str, str]:
    """The key of one message of each kind; the pending one is stale."""
    states.publish(raw, {"order_id": "ord_123", "type": "order.created"})
    states.bury("orders", "billing")
    states.retry("orders", "loyalty")
    states.deliver("orders", "analytics", consumer="box-1")
    (held,) = inspection.pending().rows
    raw.xclaim("orders", "analytics", "box-1", 0, [held.entry_id], idle=61_000, justid=True)
    (letter,) = inspection.dead_letters().rows
    return {
        "deadletter": f"orders/{letter.entry_id}",
        "retryingmessage": f"orders/loyalty/orders%2F{held.entry_id}",
        "delayedmessage": f"orders/{states.delay({'n': 1}, type='order.due')}",
        "pendingmessage": f"orders/analytics/main/{held.entry_id}",
    }
