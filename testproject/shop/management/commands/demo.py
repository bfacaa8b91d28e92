"""`manage.py demo`: real purchases, from the saved order to balanced books.

The server is stopped while orders are saved, and a worker is killed half-way.
"""

import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand, CommandParser

from testproject.shop.demo import books, deliveries, outages, purchases
from testproject.shop.demo.workers import Workers
from testproject.shop.models import Customer

MANAGE = "python testproject/manage.py"
NAME = PASSWORD = "demo"  # noqa: S105  of a shop on this machine alone, and printed
LOOK_EVERY = 0.1
PATIENCE = 60
STEPS = 10


class Command(BaseCommand):
    """Runs the demo in `SHOP_DIR`, which must hold no shop yet, and leaves its data there."""

    help = (
        "Save real purchases as orders, stop the server meanwhile, let two workers handle them, kill one half-way, and "
        "check the books."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the number of purchases, and the commands that start this shop's admin and workers."""
        add = parser.add_argument
        add("--limit", type=int, help="Only so many purchases (default: all 6,919).")
        say = "What to type for the {}, told at the end (default: %(default)s)."
        add("--admin", default=f"{MANAGE} runserver", metavar="COMMAND", help=say.format("admin"))
        add("--worker", default=f"{MANAGE} runconsumers", metavar="COMMAND", help=say.format("worker"))

    def handle(self, *args: Any, limit: int | None, admin: str, worker: str, **options: Any) -> None:
        """Run the demo; exit code 1 if the books don't balance."""
        self._prepare()
        sample = purchases.read(limit)
        self._save(sample)
        with Workers(settings.BASE_DIR) as workers:
            self._work(workers, len(sample) * len(books.GROUPS))
        rows = books.rows()
        faults = list(books.faults(sample, rows))
        self._report_deliveries(deliveries.read(workers.deliveries), rows)
        self._report_faults(faults)
        self._say(f"\nTo look around: {admin}, then http://127.0.0.1:8000/admin/ as {NAME!r}, password {PASSWORD!r}")
        self._say(f"To have handled what you replay there: {worker}\n")
        for row in rows:
            self._say(str(row))
        if faults:
            sys.exit(1)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _prepare(self) -> None:
        call_command("migrate", verbosity=0)
        if Customer.objects.exists():
            raise CommandError(
                f"The database {settings.DATABASES['default']['NAME']!r} holds a shop already, expected an empty one. "
                "`make demo` makes a new one; by hand, name a new one by SHOP_DIR or DATABASE_URL."
            )
        get_user_model().objects.create_superuser(NAME, password=PASSWORD)

    def _save(self, sample: list[purchases.Purchase]) -> None:
        self._say(f"Saving {len(sample)} orders, each published on its commit")
        progress = Progress(self._say, "saved", len(sample))
        orders = enumerate(purchases.save(sample), start=1)

        def save(count: int | None) -> None:
            for done, _ in islice(orders, count):
                progress.reached(done)

        if outages.possible():
            save(-(-len(sample) // 2))
            self._without_server(save, -(-len(sample) // STEPS))
        else:
            self._say("  the server isn't the demo's own, so nobody stops it")
        save(None)

    def _without_server(self, save: Callable[[int], None], count: int) -> None:
        log = settings.BASE_DIR / "outage.log"
        with outages.outage(log):
            self._say("  stopped the server; orders are saved all the same")
            save(count)
            self._say(f"  {books.unsent()} messages wait in the outbox, each with a line in {log}")
        self._say("  started the server again")

    def _work(self, workers: Workers, total: int) -> None:
        self._say(f"Starting two workers for the groups {', '.join(books.GROUPS)}")
        progress = Progress(self._say, "settled", total)
        waited, killed = books.unsent(), None
        for settled, unsent in _settled(workers):
            progress.reached(settled)
            if waited and not unsent:
                self._say(f"  a worker has sent the {waited} messages that waited in the outbox")
                waited = 0
            # Not while one sends what is in the outbox: it would be sent again, and the books count each message once.
            if killed is None and not unsent and settled >= total / 2:
                killed = workers.kill_one()
                self._say(f"  killed worker {killed} by SIGKILL, {settled} of {total} settled")

    def _report_deliveries(self, seen: list[deliveries.Delivery], rows: list[books.Row]) -> None:
        again, known = deliveries.duplicates(seen), {row.group: row.repeated for row in rows}
        each = ", ".join(f"{group} {again[group] + known[group]}" for group in books.GROUPS)
        count, repeated = len(seen) + sum(known.values()), again.total() + sum(known.values())
        self._say(f"{count} deliveries to handlers, {repeated} of them of a message delivered before ({each})")

    def _report_faults(self, faults: list[str]) -> None:
        if not faults:
            self._say("The books balance: orders, charges, each customer's total and each month's sales, by the file")
        for fault in faults:
            self._say(f"The books don't balance: {fault}")


class Progress:
    """Writes a line for each tenth of the way."""

    def __init__(self, say: Callable[[str], None], verb: str, total: int) -> None:
        self._say, self._verb, self._total = say, verb, total
        self._told = 0

    def reached(self, done: int) -> None:
        """Write the line if another tenth is done."""
        if (step := done * STEPS // self._total) > self._told:
            self._told = step
            self._say(f"  {self._verb} {done} of {self._total}")


def _settled(workers: Workers) -> Iterator[tuple[int, int]]:
    """Yield how many messages are settled and how many are in the outbox, again and again until none is pending."""
    settled, since = -1, time.monotonic()
    while True:
        workers.check()
        rows = books.rows()
        before, settled = settled, sum(row.settled for row in rows)
        yield settled, rows[0].unsent
        if not any(row.pending for row in rows):
            return
        if settled > before:
            since = time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            raise CommandError(f"Nothing was settled for {PATIENCE} s: {'; '.join(map(str, rows))}. See {workers.log}")
        time.sleep(LOOK_EVERY)
