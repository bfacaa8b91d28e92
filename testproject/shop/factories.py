"""Customers and orders for tests and experiments."""

from datetime import date
from decimal import Decimal

from factory.declarations import Sequence, SubFactory
from factory.django import DjangoModelFactory

from .models import Customer, Order


class CustomerFactory(DjangoModelFactory[Customer]):
    """A customer with a unique number."""

    class Meta:
        model = Customer

    number = Sequence(lambda n: n + 1)


class OrderFactory(DjangoModelFactory[Order]):
    """An order of a new customer; saved, and so published."""

    class Meta:
        model = Order

    customer = SubFactory(CustomerFactory)
    date = date(1997, 1, 1)
    cds = 2
    total = Decimal("29.33")
