"""The books of the demo: what was published, what became of it, and whether that adds up.

Published is the number of orders in the database, and the stream must have got as many. The server's
totals, dead letters and waiting messages show what became of them. Neither is derived from the other,
and nothing is from the memory of the process that runs the demo.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db.models import F

from django_redis_streams import inspection
from django_redis_streams.inbox.models import InboxMessage
from django_redis_streams.outbox.models import OutboxMessage
from testproject.shop.models import Charge, LoyaltyAccount, MonthlySales, Order

from .purchases import Purchase

STREAM = "orders"
GROUPS = ("analytics", "loyalty", "billing")


@dataclass(frozen=True)
class Row:
    """The counts of one group's messages.

    `acknowledged` includes the `repeated` ones, whose work had been committed before they came. `published` counts
    the shop's orders, `received` all entries that the stream ever got. `pending` ones aren't settled yet: `unsent` (in
    the outbox), unread, delivered or waiting for a retry. `dead_letters` are in the queue, `dead_lettered` were put
    there.
    """

    group: str
    published: int
    received: int | None
    acknowledged: int
    dead_lettered: int
    dead_letters: int
    pending: int
    repeated: int = 0
    unsent: int = 0

    @property
    def settled(self) -> int:
        """How many messages won't come again."""
        return self.acknowledged + self.dead_lettered

    @property
    def lost(self) -> int:
        """How many messages were published and are nowhere."""
        return self.published - self.settled - self.pending

    def __str__(self) -> str:
        return (
            f"{self.group} published {self.published} acknowledged {self.acknowledged} "
            f"dead-lettered {self.dead_lettered} pending {self.pending} lost {self.lost}"
        )


def rows() -> list[Row]:
    """Return a row for each group, as the server and the database have it now."""
    published = Order.objects.count()
    # Before the server is asked: what leaves the outbox meanwhile counts twice, and isn't missed.
    waiting = unsent()
    found = {books.group: books for books in inspection.books(STREAM)}
    return [_row(found[group], published, waiting) for group in GROUPS]


def unsent() -> int:
    """Return how many messages are in the outbox: committed, and not on the server."""
    return OutboxMessage.objects.filter(stream=STREAM).count()


def _row(books: inspection.Books, published: int, unsent: int) -> Row:
    acknowledged = books.acknowledged + books.repeated
    settled = acknowledged + books.dead_lettered
    return Row(
        group=books.group,
        published=published,
        received=books.published,
        acknowledged=acknowledged,
        dead_lettered=books.dead_lettered,
        dead_letters=_dead_letters(books.group),
        # Redis 6.2 can't tell how many are unread before the last is delivered.
        pending=published - settled if books.waiting is None else books.waiting + unsent,
        repeated=books.repeated,
        unsent=unsent,
    )


def _dead_letters(group: str) -> int:
    page = inspection.dead_letters(stream=STREAM, group=group, count=1000)
    found = len(page.rows)
    while page.next is not None:
        page = inspection.dead_letters(stream=STREAM, group=group, count=1000, after=page.next)
        found += len(page.rows)
    return found


def faults(purchases: Iterable[Purchase], rows: Iterable[Row]) -> Iterator[str]:
    """Yield a sentence for each thing that doesn't add up; none if the books balance."""
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
    if row.received not in (published, None):
        yield f"The stream got {row.received} messages of {published} purchases."
    if row.dead_letters != row.dead_lettered:
        yield f"{row.group} has dead-lettered {row.dead_lettered} messages, {row.dead_letters} are in the queue."
    handled = InboxMessage.objects.filter(stream=STREAM, group=row.group).count()
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
