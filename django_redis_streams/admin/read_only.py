"""The base of every admin here: pages without forms. Only actions change what is on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import admin
from django.http import HttpRequest
from django.urls import URLPattern

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin  # takes no type when it runs

__all__ = ["ReadOnlyAdmin"]

_VIEWS: Final = ("_changelist", "_history", "_change")


class ReadOnlyAdmin(ModelAdmin):
    """An admin without adding, changing or deleting, for any user: Django's views of these have no URL either."""

    class Media:
        css: ClassVar = {"all": ("django_redis_streams/admin.css",)}

    def get_urls(self) -> list[URLPattern]:
        """Return the URLs of the list, of each object's page, and of its history."""
        return [url for url in super().get_urls() if (url.name or "").endswith(_VIEWS)]

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002  as Django calls it
        """Return False: nobody adds here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002  as above
        """Return False: nobody changes here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002  as above
        """Return False: discarding is an action with a permission of its own, and commands delete groups."""
        return False
