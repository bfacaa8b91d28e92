"""An order's way to the groups. `django_redis_streams` gives each test a server of its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

import pytest

from django_redis_streams import Reject
from django_redis_streams.testing import assert_published, drain, make_message
from testproject.shop import stream_handlers
from testproject.shop.factories import OrderFactory
from testproject.shop.models import Charge, LoyaltyAccount, MonthlySales

Committing = Callable[..., AbstractContextManager[Any]]

pytestmark = pytest.mark.django_db


def test_an_order_is_told_of(django_capture_on_commit_callbacks: Committing) -> None:
    """An order is published once, when it is committed."""
    with django_capture_on_commit_callbacks(execute=True):
        order = OrderFactory.create(total=Decimal("29.33"))
        assert_published("orders", count=0)
    payload = {"id": order.pk, "customer_id": order.customer_id, "date": order.date, "cds": 2, "total": order.total}
    assert_published("orders", type="shop.order.created", payload=payload, count=1)


def test_each_group_does_its_part(django_capture_on_commit_callbacks: Committing) -> None:
    """A message goes from the order to three handlers, without a worker."""
    with django_capture_on_commit_callbacks(execute=True):
        OrderFactory.create(total=Decimal("29.33"))
    assert drain(raise_errors=True).acknowledged == len(("billing", "loyalty", "analytics"))
    assert Charge.objects.get().amount == Decimal("29.33")
    assert LoyaltyAccount.objects.get().total == Decimal("29.33")
    assert MonthlySales.objects.get().purchases == 1


def test_an_order_that_costs_nothing_is_a_dead_letter(django_capture_on_commit_callbacks: Committing) -> None:
    """Billing's message is dead-lettered at once, as no retry would help."""
    with django_capture_on_commit_callbacks(execute=True):
        OrderFactory.create(total=Decimal(0))
    drained = drain("orders:billing", hasten=True)
    assert (drained.dead_lettered, drained.retried) == (1, 0)


def test_the_handler_says_why() -> None:
    """A handler is a function: no stream is needed to call it."""
    with pytest.raises(Reject, match="nothing to charge"):
        stream_handlers.charge(make_message({"id": 1, "total": Decimal(0)}, group="billing"))
