"""The shop's own tables in the admin, beside those of its streams."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import Model

from .models import Charge, Customer, LoyaltyAccount, MonthlySales, Order

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Model]  # takes no type when it runs
else:
    ModelAdmin = admin.ModelAdmin


@admin.register(Customer)
class CustomerAdmin(ModelAdmin):
    """Customers, found by their number."""

    search_fields = ("=number",)


@admin.register(Order)
class OrderAdmin(ModelAdmin):
    """Orders. An order saved here is published like any other."""

    list_display = ("pk", "customer", "date", "cds", "total")
    list_select_related = ("customer",)
    autocomplete_fields = ("customer",)
    date_hierarchy = "date"
    search_fields = ("=pk", "=customer__number")


@admin.register(Charge)
class ChargeAdmin(ModelAdmin):
    """Billing's charges."""

    list_display = ("order_id", "amount")
    list_select_related = ("order__customer",)
    raw_id_fields = ("order",)


@admin.register(LoyaltyAccount)
class LoyaltyAccountAdmin(ModelAdmin):
    """The sums that customers have spent."""

    list_display = ("customer", "total")
    list_select_related = ("customer",)
    autocomplete_fields = ("customer",)
    search_fields = ("=customer__number",)


@admin.register(MonthlySales)
class MonthlySalesAdmin(ModelAdmin):
    """Purchases and turnover by month."""

    list_display = ("month", "purchases", "turnover")
