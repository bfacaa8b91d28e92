"""The purchases of the sample, and the orders made of them."""

import csv
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from django.db import transaction

from testproject.shop.models import Customer, Order

FILE = Path(__file__).parent.parent / "data" / "cdnow_sample.csv"


class Purchase(NamedTuple):
    """One line of the file."""

    customer: int
    date: date
    cds: int
    total: Decimal


def read(limit: int | None = None) -> list[Purchase]:
    """Return all purchases in the order of the file, or the first `limit` of them."""
    with FILE.open(encoding="utf-8", newline="") as lines:
        return [_purchase(row) for row in csv.DictReader(lines)][:limit]


def _purchase(row: dict[str, str]) -> Purchase:
    return Purchase(
        customer=int(row["customer_id"]),
        date=date.fromisoformat(row["date"]),
        cds=int(row["cds"]),
        total=Decimal(row["total"]),
    )


def save(purchases: Iterable[Purchase]) -> Iterator[Order]:
    """Save an order for each purchase, in its own transaction, whose commit publishes it; yield each order."""
    for number, theirs in groupby(purchases, key=attrgetter("customer")):
        customer = Customer.objects.create(number=number)
        for purchase in theirs:
            with transaction.atomic():
                order = Order.objects.create(
                    customer=customer, date=purchase.date, cds=purchase.cds, total=purchase.total
                )
            yield order
