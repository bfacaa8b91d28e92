"""The handlers of placed orders, one for each consumer group.

A message is delivered at least once: after a crash it comes again. With `once=True` each handler works in one
transaction, together with a row that marks the message as done. Both are committed or neither is. When a message comes
again, the worker finds nothing of the first time, and calls the handler; or it finds the row, and doesn't.
"""

import logging
from datetime import date
from decimal import Decimal

from django.db.models import F

from django_redis_streams import Message, Reject, handler

from .models import Charge, LoyaltyAccount, MonthlySales

deliveries = logging.getLogger("shop.deliveries")


@handler("orders", group="billing", type="shop.order.created", once=True)
def charge(message: Message) -> None:
    """Charge the order. A total of zero is a mistake, which no retry mends."""
    note_delivery(message)
    total = Decimal(message.payload["total"])
    if total <= 0:
        raise Reject(f"nothing to charge: the order's total is {total}")
    Charge.objects.create(order_id=message.payload["id"], amount=total)


@handler("orders", group="loyalty", type="shop.order.created", once=True)
def add_to_account(message: Message) -> None:
    """Add the order's total to the customer's sum."""
    note_delivery(message)
    account, _ = LoyaltyAccount.objects.get_or_create(customer_id=message.payload["customer_id"])
    LoyaltyAccount.objects.filter(pk=account.pk).update(total=F("total") + Decimal(message.payload["total"]))


@handler("orders", group="analytics", type="shop.order.created", once=True)
def count_in_month(message: Message) -> None:
    """Count the purchase and its turnover in the month of its date."""
    note_delivery(message)
    month = date.fromisoformat(message.payload["date"]).replace(day=1)
    sales, _ = MonthlySales.objects.get_or_create(month=month)
    MonthlySales.objects.filter(pk=sales.pk).update(
        purchases=F("purchases") + 1, turnover=F("turnover") + Decimal(message.payload["total"])
    )


def note_delivery(message: Message) -> None:
    """Write down that a handler was called, for `manage.py demo`."""
    deliveries.info("%s %s", message.group, message.id)
