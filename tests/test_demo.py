"""The demo ends with balanced books, and with exit code 1 when they don't balance."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

import testproject
from django_redis_streams.inbox.models import InboxMessage
from testproject.shop.demo import books, deliveries, purchases
from testproject.shop.factories import OrderFactory
from testproject.shop.models import Charge, Customer, LoyaltyAccount, MonthlySales, Order

from .support import unsent

MANAGE = Path(testproject.__file__).parent / "manage.py"
# The first 300 purchases hold one that costs nothing.
SOME = 300


def run(command, directory):
    """What came of a command of the shop in `directory`, whatever shop the environment names."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"}
    }
    process = subprocess.Popen(
        [sys.executable, MANAGE, *command],
        env={**environment, "SHOP_DIR": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate()
    finally:
        # If this test is cut short, the demo's workers end with the demo.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A directory in which a short demo was run, and what it said."""
    directory = tmp_path_factory.mktemp("shop")
    return directory, run(["demo", "--limit", str(SOME)], directory)


def test_the_demo_ends_with_the_line_of_billing(shop):
    """All is acknowledged or dead-lettered, nothing is pending or lost; the last line says so."""
    _, done = shop
    assert done.returncode == 0, done.stdout + done.stderr
    *_, analytics, loyalty, billing = done.stdout.splitlines()
    assert analytics == f"analytics published {SOME} acknowledged {SOME} dead-lettered 0 pending 0 lost 0"
    assert loyalty == f"loyalty published {SOME} acknowledged {SOME} dead-lettered 0 pending 0 lost 0"
    assert billing == f"billing published {SOME} acknowledged {SOME - 1} dead-lettered 1 pending 0 lost 0"


def test_the_demo_tells_what_it_does(shop):
    """It shows progress, stops the server, kills a worker, counts duplicates, and says how to get into the admin."""
    directory, done = shop
    assert f"saved {SOME} of {SOME}" in done.stdout
    outage = done.stdout.index("stopped the server"), done.stdout.index("started the server again")
    assert f"{SOME // 10} messages wait in the outbox" in done.stdout[slice(*outage)]
    assert f"a worker has sent the {SOME // 10} messages that waited in the outbox" in done.stdout
    assert (directory / "outage.log").read_text().count("The outbox of database 'default' keeps it") == SOME // 10
    assert re.search(r"killed worker \d+ by SIGKILL", done.stdout)
    assert re.search(r"\d+ deliveries to handlers, \d+ of them of a message delivered before", done.stdout)
    assert "http://127.0.0.1:8000/admin/ as 'demo', password 'demo'" in done.stdout


def test_the_demo_leaves_its_data_and_touches_no_shop_that_is_there(shop):
    """A second run in the same directory is refused, and what is there stays."""
    directory, _ = shop
    again = run(["demo"], directory)
    assert again.returncode == 1
    assert "holds a shop already" in again.stderr
    count = "from testproject.shop.models import Order; print(Order.objects.count())"
    assert run(["shell", "--verbosity", "0", "-c", count], directory).stdout.split()[-1] == str(SOME)


def test_the_doctor_finds_nothing_wrong_after_the_demo(shop):
    """Dead letters, a server for development and a stream without a bound are for information."""
    directory, _ = shop
    done = run(["streams", "doctor", "--json"], directory)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert {each["level"] for each in told["findings"]} == {"information"}
    assert {"dead-letters", "embedded", "no-limit"} <= {each["code"] for each in told["findings"]}


@pytest.fixture
def balanced(db):
    """Ten purchases and all that the groups have made of them; the rows that the server would show."""
    sample = purchases.read(limit=10)
    for order in purchases.save(sample):
        Charge.objects.create(order=order, amount=order.total)
        account, _ = LoyaltyAccount.objects.get_or_create(customer=order.customer)
        account.total += order.total
        account.save()
        sales, _ = MonthlySales.objects.get_or_create(month=order.date.replace(day=1))
        sales.purchases += 1
        sales.turnover += order.total
        sales.save()
        for group in books.GROUPS:
            InboxMessage.objects.create(id=uuid4(), stream="orders", group=group, message_id=f"of {order.pk}")
    return sample, [books.Row(group, 10, 10, 10, 0, 0, 0) for group in books.GROUPS]


def test_books_that_balance_have_no_faults(balanced):
    """Orders, charges, customers' totals and months as in the file: nothing to say."""
    assert list(books.faults(*balanced)) == []


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (lambda: LoyaltyAccount.objects.filter(pk=1).update(total=1), "totals of 1 customers"),
        (lambda: LoyaltyAccount.objects.create(customer=Customer.objects.create(number=0)), "totals of 1 customers"),
        (lambda: MonthlySales.objects.first().delete(), "sales of the months"),
        (lambda: MonthlySales.objects.create(month=date(2000, 1, 1)), "sales of the months"),
        (lambda: Charge.objects.first().delete(), "1 orders weren't charged"),
        (lambda: Charge.objects.filter(pk=Charge.objects.first().pk).update(amount=1), "1 were charged wrongly"),
        (lambda: Order.objects.filter(pk=Order.objects.first().pk).update(total=Decimal("0.01")), "in the database"),
        (lambda: InboxMessage.objects.filter(group="loyalty").first().delete(), "done the work of 9"),
    ],
)
def test_books_show_each_fault_of_the_database(balanced, tamper, fault):
    """Whatever isn't as the file says is found."""
    tamper()
    assert any(fault in sentence for sentence in books.faults(*balanced))


@pytest.mark.parametrize(
    "change",
    [{"published": 9}, {"acknowledged": 9}, {"dead_lettered": 1}, {"pending": 1}, {"received": 9}, {"dead_letters": 1}],
)
def test_books_show_each_fault_of_the_server(balanced, change):
    """Each figure of a group that doesn't add up is found."""
    sample, (first, *others) = balanced
    assert list(books.faults(sample, [replace(first, **change), *others]))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("streams")
def test_what_is_in_the_outbox_is_pending(server):
    """An order whose message isn't on the server yet is neither settled nor lost."""
    first = OrderFactory()
    for group in books.GROUPS:
        server.raw().xgroup_create("orders", group, "0")
    Order.objects.bulk_create([Order(customer=first.customer, date=first.date, cds=1, total=1)])  # publishes nothing
    unsent.row()
    assert {(row.published, row.pending, row.unsent, row.lost) for row in books.rows()} == {(2, 2, 1, 0)}


def test_every_duplicate_delivery_is_counted(tmp_path):
    """A message delivered three times to a group is two duplicates, whoever got it."""
    log = tmp_path / "deliveries.log"
    log.write_text("1 billing a\n1 loyalty a\n2 billing a\n2 billing b\n3 billing a\n")
    assert deliveries.duplicates(deliveries.read(log)) == {"billing": 2, "loyalty": 0}
