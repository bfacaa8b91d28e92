"""The shop: handlers that do their work once, settings, and tables in the admin."""

import runpy
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from django.urls import reverse

import testproject
from django_redis_streams import Message, Reject, handlers
from django_redis_streams.inbox.models import InboxMessage
from testproject.shop import stream_handlers  # noqa: F401  declares them outside of what isolates other tests
from testproject.shop.demo import purchases
from testproject.shop.factories import CustomerFactory, OrderFactory
from testproject.shop.models import Charge, Customer, LoyaltyAccount, MonthlySales, Order

SETTINGS = Path(testproject.__file__).parent / "settings.py"


def created(order, group):
    """The message that tells `group` of the order."""
    payload = {
        "id": order.pk,
        "customer_id": order.customer_id,
        "date": order.date.isoformat(),
        "cds": order.cds,
        "total": str(order.total),
    }
    return Message(
        id=f"message of order {order.pk}",
        stream="orders",
        type="shop.order.created",
        payload=payload,
        group=group,
    )


def deliver(order, group):
    """Have the handler of `group` run for the order's message, as a worker runs it."""
    message = created(order, group)
    handlers.of("orders", group).find(message.type).in_transaction(message)


@pytest.mark.django_db
def test_billing_charges_an_order_once():
    """The same message delivered twice makes one charge of the order's total."""
    order = OrderFactory(total=Decimal("29.33"))
    for _ in range(2):
        deliver(order, "billing")
    assert [charge.amount for charge in Charge.objects.all()] == [Decimal("29.33")]


@pytest.mark.django_db
def test_billing_rejects_an_order_that_costs_nothing():
    """A total of zero is rejected, and nothing of it stays, so that a replay finds a clean slate."""
    order = OrderFactory(total=Decimal("0.00"))
    with pytest.raises(Reject, match="nothing to charge"):
        deliver(order, "billing")
    assert not Charge.objects.exists()
    assert not InboxMessage.objects.exists()


@pytest.mark.django_db
def test_loyalty_sums_up_what_a_customer_bought_for():
    """Each order counts once towards its customer's total, however often its message comes."""
    customer = CustomerFactory()
    first = OrderFactory(customer=customer, total=Decimal("10.10"))
    second = OrderFactory(customer=customer, total=Decimal("20.20"))
    for order in (first, second, first):
        deliver(order, "loyalty")
    assert LoyaltyAccount.objects.get(customer=customer).total == Decimal("30.30")


@pytest.mark.django_db
def test_analytics_counts_purchases_by_month():
    """Purchases of one month are counted and summed up together, each once."""
    orders = [OrderFactory(date=day, total=Decimal(5)) for day in (date(1997, 3, 1), date(1997, 3, 31))]
    for order in (*orders, orders[0]):
        deliver(order, "analytics")
    (sales,) = MonthlySales.objects.all()
    assert (sales.month, sales.purchases, sales.turnover) == (date(1997, 3, 1), 2, Decimal(10))


@pytest.mark.django_db
def test_what_one_group_has_done_is_no_other_groups_business():
    """The row of one group doesn't keep another group from its work."""
    order = OrderFactory()
    deliver(order, "billing")
    deliver(order, "loyalty")
    assert InboxMessage.objects.count() == 2
    assert LoyaltyAccount.objects.get().total == order.total


def test_sample_is_whole():
    """The file holds 6,919 purchases of 2,357 customers, eight of which cost nothing."""
    rows = purchases.read()
    assert len(rows) == 6919
    assert len({row.customer for row in rows}) == 2357
    assert sum(row.total == 0 for row in rows) == 8


@pytest.mark.django_db
def test_purchases_become_orders():
    """Each purchase is saved as an order of its customer, who is saved once."""
    rows = purchases.read(limit=9)
    assert len(list(purchases.save(rows))) == 9
    saved = Order.objects.order_by("pk").values_list("customer__number", "date", "cds", "total")
    assert list(saved) == rows
    assert Customer.objects.count() == len({row.customer for row in rows})


def test_sqlite_is_set_up_for_several_writers(monkeypatch, tmp_path):
    """By default the database is an SQLite file in `SHOP_DIR` whose writers wait for each other."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("SHOP_DIR", str(tmp_path / "a shop + more"))
    database = runpy.run_path(str(SETTINGS))["DATABASES"]["default"]
    assert database["NAME"] == str(tmp_path / "a shop + more" / "db.sqlite3")
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_another_database_and_server_come_from_the_environment(monkeypatch):
    """`DATABASE_URL` and `REDIS_URL` are used as they are, without options meant for SQLite."""
    monkeypatch.setenv("DATABASE_URL", "postgres://shop:secret@db.example:5432/shop")
    monkeypatch.setenv("REDIS_URL", "redis://redis.example:6379/1")
    settings = runpy.run_path(str(SETTINGS))
    assert settings["DATABASES"]["default"]["ENGINE"] == "django.db.backends.postgresql"
    assert "OPTIONS" not in settings["DATABASES"]["default"]
    connections = settings["REDIS_STREAMS"]["CONNECTIONS"]
    assert connections == {"default": {"URL": "redis://redis.example:6379/1"}}


@pytest.mark.django_db
@pytest.mark.parametrize("model", ["customer", "order", "charge", "loyaltyaccount", "monthlysales"])
def test_the_shops_tables_are_in_the_admin(admin_client, model):
    """Each table has a list and a form to add to it."""
    for page in ("changelist", "add"):
        assert admin_client.get(reverse(f"admin:shop_{model}_{page}")).status_code == 200
