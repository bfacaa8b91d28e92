"""The books of the demo: what was published, what became of it, and whether that adds up.

Published is what the shop's database and the stream itself hold. What became of it is what the
server's totals, dead letters and waiting messages say. Neither is derived from the other, and nothing
here is from the memory of the one who ran the demo.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db.models import F

from testproject.shop.models import Charge, Handled, LoyaltyAccount, MonthlySales, Order

from .purchases import Purchase

STREAM = "orders"
GROUPS = ("analytics", "loyalty", "billing")


@dataclass(frozen=True)
class Row:
    """What became of the messages of one group; `pending` is all that isn't settled yet."""

    group: str
    published: int
    acknowledged: int
    dead_lettered: int
    pending: int

    @property
    def settled(self) -> int:
        """How many won't come again."""
        return self.acknowledged + self.dead_lettered

    @property
    def lost(self) -> int:
        """How many were published and are nowhere."""
        return self.published - self.settled - self.pending

    def __str__(self) -> str:
        return (
            f"{self.group} published {self.published} acknowledged {self.acknowledged} "
            f"dead-lettered {self.dead_lettered} pending {self.pending} lost {self.lost}"
        )


def faults(purchases: Iterable[Purchase], rows: Iterable[Row]) -> Iterator[str]:
    """A sentence for each thing that doesn't add up; none if the books balance."""
    purchases = list(purchases)
    yield from _faults_of_orders(purchases)
    for row in rows:
        yield from _faults_of_group(row, len(purchases))
    yield from _faults_of_billing()
    yield from _faults_of_loyalty(purchases)
    yield from _faults_of_analytics(purchases)


def _faults_of_orders(purchases: list[Purchase]) -> Iterator[str]:
    saved = Order.objects.values_list("customer__number", "date", "cds", "total")
    difference = Counter(purchases) - Counter(Purchase(*row) for row in saved)
    if difference or len(saved) != len(purchases):
        yield (
            f"The database holds {len(saved)} orders, the file {len(purchases)} purchases, "
            f"{difference.total()} of which aren't in the database."
        )


def _faults_of_group(row: Row, published: int) -> Iterator[str]:
    if row.published != published or row.settled != published or row.pending or row.lost:
        yield f"Of {published} purchases the server says: {row}."
    handled = Handled.objects.filter(group=row.group).count()
    if handled != row.acknowledged:
        yield f"{row.group} has acknowledged {row.acknowledged} messages, and done the work of {handled}."


def _faults_of_billing() -> Iterator[str]:
    uncharged = Order.objects.filter(total__gt=0, charge=None).count()
    wrong = Charge.objects.exclude(amount=F("order__total")).count()
    if uncharged or wrong:
        yield f"{uncharged} orders weren't charged, {wrong} were charged wrongly."


def _faults_of_loyalty(purchases: list[Purchase]) -> Iterator[str]:
    expected: dict[int, Decimal] = defaultdict(Decimal)
    for purchase in purchases:
        expected[purchase.customer] += purchase.total
    found = dict(LoyaltyAccount.objects.values_list("customer__number", "total"))
    wrong = [number for number in expected | found if expected.get(number) != found.get(number)]
    if wrong:
        yield f"The totals of {len(wrong)} customers aren't those of the file: {wrong[:5]}"


def _faults_of_analytics(purchases: list[Purchase]) -> Iterator[str]:
    expected: dict[date, tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for purchase in purchases:
        count, turnover = expected[month := purchase.date.replace(day=1)]
        expected[month] = count + 1, turnover + purchase.total
    sales = MonthlySales.objects.values_list("month", "purchases", "turnover")
    found = {month: (count, turnover) for month, count, turnover in sales}
    if found != expected:
        yield f"The sales of the months aren't those of the file: {found} instead of {dict(expected)}"
