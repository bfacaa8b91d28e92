"""The shop's tables: its orders, and what each consumer group of "orders" makes of them."""

from django.db import models

from django_redis_streams import publishes


class Customer(models.Model):
    """Somebody who buys, known by a number."""

    number = models.PositiveIntegerField(unique=True)

    class Meta:
        ordering = ("number",)

    def __str__(self) -> str:
        return f"{self.number:05}"


@publishes("orders", on=("created",), fields=("id", "customer_id", "date", "cds", "total"))
class Order(models.Model):
    """CDs that a customer bought on a day. Its commit publishes a message on the stream "orders"."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="orders")
    date = models.DateField()
    cds = models.PositiveSmallIntegerField("CDs")
    total = models.DecimalField(max_digits=8, decimal_places=2)

    class Meta:
        ordering = ("date", "pk")

    def __str__(self) -> str:
        return f"{self.customer}, {self.date}: {self.total}"


class Charge(models.Model):
    """Billing's charge for an order."""

    order = models.OneToOneField(Order, on_delete=models.PROTECT)
    amount = models.DecimalField(max_digits=8, decimal_places=2)

    def __str__(self) -> str:
        return f"{self.amount} for {self.order}"


class LoyaltyAccount(models.Model):
    """The sum that a customer has spent, over all orders."""

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT)
    total = models.DecimalField(max_digits=10, decimal_places=2, default=0)

    def __str__(self) -> str:
        return f"{self.customer}: {self.total}"


class MonthlySales(models.Model):
    """Purchases and turnover of a month, which its first day names."""

    month = models.DateField(unique=True)
    purchases = models.PositiveIntegerField(default=0)
    turnover = models.DecimalField(max_digits=12, decimal_places=2, default=0)

    class Meta:
        ordering = ("month",)
        verbose_name_plural = "monthly sales"

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}: {self.turnover}"
