"""The shop as a Django app."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """Names the app; its handlers are found in `stream_handlers.py`."""

    name = "testproject.shop"
    verbose_name = "Shop"
