"""A test without pytest, which `manage.py test` runs too."""

from decimal import Decimal

from django.test import TestCase

from django_redis_streams.testing import StreamsMixin
from testproject.shop.factories import OrderFactory
from testproject.shop.models import Charge


class OrderTest(StreamsMixin, TestCase):
    """An order and its charge."""

    def test_an_order_is_charged(self) -> None:
        """Billing charges the order's total."""
        with self.captureOnCommitCallbacks(execute=True):
            order = OrderFactory.create(total=Decimal("29.33"))
        self.assertPublished("orders", type="shop.order.created", count=1)
        drained = self.drainStreams("orders:billing")
        assert drained.acknowledged == 1
        assert Charge.objects.get(order=order).amount == Decimal("29.33")
