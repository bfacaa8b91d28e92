"""The handlers of placed orders, one for each consumer group.

A message is delivered at least once: after a crash it comes again. Each handler therefore works in
one transaction, together with a row of (group, message id). Both are committed or neither is. When a
message comes again, it finds nothing of the first time, or the row that marks it as done.
"""

import logging
from datetime import date
from decimal import Decimal

from django.db.models import F

from django_redis_streams import Message, Reject, handler

from .models import Charge, Handled, LoyaltyAccount, MonthlySales

deliveries = logging.getLogger("shop.deliveries")


def done_before(message: Message) -> bool:
    """Return whether this group has dealt with this message already; if not, note that it has."""
    deliveries.info("%s %s", message.group, message.id)
    _, new = Handled.objects.get_or_create(group=message.group, message_id=message.id)
    return not new


@handler("orders", group="billing", type="shop.order.created", atomic=True)
def charge(message: Message) -> None:
    """Charge the order. A total of zero is a mistake, which no retry mends."""
    if done_before(message):
        return
    total = Decimal(message.payload["total"])
    if total <= 0:
        raise Reject(f"nothing to charge: the order's total is {total}")
    Charge.objects.create(order_id=message.payload["id"], amount=total)


@handler("orders", group="loyalty", type="shop.order.created", atomic=True)
def add_to_account(message: Message) -> None:
    """Add the order's total to the customer's sum."""
    if done_before(message):
        return
    account, _ = LoyaltyAccount.objects.get_or_create(customer_id=message.payload["customer_id"])
    LoyaltyAccount.objects.filter(pk=account.pk).update(total=F("total") + Decimal(message.payload["total"]))


@handler("orders", group="analytics", type="shop.order.created", atomic=True)
def count_in_month(message: Message) -> None:
    """Count the purchase and its turnover in the month of its date."""
    if done_before(message):
        return
    month = date.fromisoformat(message.payload["date"]).replace(day=1)
    sales, _ = MonthlySales.objects.get_or_create(month=month)
    MonthlySales.objects.filter(pk=sales.pk).update(
        purchases=F("purchases") + 1, turnover=F("turnover") + Decimal(message.payload["total"])
    )
