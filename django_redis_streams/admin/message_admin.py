"""What the message pages share: a list, a page for each message, and actions.

Nothing can be added, changed or deleted: only the actions change what is on the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib import messages as notes
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import connections
from ..models import StreamMessage
from .changelist import AFTER, MessageList
from .confirmation import ask_or_do
from .listing import Listing
from .message_actions import MessageAction
from .message_page import Fact, message_page
from .problems import EXPECTED, error_text
from .read_only import ReadOnlyAdmin
from .sources import MessageSource
from .text import breakable

__all__ = ["MessageAdmin", "as_action"]


def as_action(action: MessageAction) -> Any:
    """Return an action as an entry for `ModelAdmin.actions`."""

    @admin.action(permissions=[action.name], description=action.description)
    def act(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return ask_or_do(model_admin, request, queryset, action)

    act.__name__ = action.name
    return act


class MessageAdmin(ReadOnlyAdmin):
    """The admin of one kind of messages; a subclass sets the kind, its columns, facts and actions."""

    kind: ClassVar[MessageSource]
    message_actions: ClassVar[tuple[MessageAction, ...]]

    list_per_page = 50
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    # Only makes Django show the search form: `inspection` decides what is searched.
    search_fields = ("message_id",)
    search_help_text = gettext_lazy(
        "Finds messages with all of these words in their ids, type, error, traceback or fields."
    )

    def facts(self, row: Any) -> Iterator[Fact]:
        """Yield the facts that a message's page shows above its payload."""
        raise NotImplementedError

    @admin.display(description=gettext_lazy("type"), empty_value="-")
    def event(self, message: StreamMessage) -> str:
        """Return the message's type."""
        return breakable(message.row.type)

    def get_queryset(self, request: HttpRequest) -> Any:  # noqa: ARG002
        """Return a listing of all messages of the kind."""
        return Listing(self.kind)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[MessageList]:  # noqa: ARG002
        """Return the class of the list, which pages by cursor."""
        return MessageList

    @connections.hurried()
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, or handle an action that is posted to it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(("GET", "HEAD", "POST"))
        self._check_permitted(request)
        request.GET = self._known(request.GET)  # type: ignore[assignment]
        return super().changelist_view(
            request, {"title": capfirst(self.opts.verbose_name_plural), **(extra_context or {})}
        )

    @connections.hurried()
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",  # noqa: ARG002
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> HttpResponse:
        """Show a message's page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(("GET", "HEAD"))
        key = unquote(object_id)
        try:
            rows = self.kind.rows([key], bodies=True)
            return message_page(self, request, self.kind.instance(rows[0])) if rows else self._gone(request, key)
        except EXPECTED as error:
            notes.error(request, error_text(error))
            return HttpResponseRedirect(self.url_of("changelist"))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> StreamMessage | None:  # noqa: ARG002
        """Return the message that a history page is about, without asking the server: the history outlives it."""
        return self.model(id=object_id) if self.kind.is_key(object_id) else None

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Whether this user may replay."""
        return self.may(request, "replay")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Whether this user may discard."""
        return self.may(request, "discard")

    def has_publish_permission(self, request: HttpRequest) -> bool:
        """Whether this user may publish now."""
        return self.may(request, "publish")

    def has_release_permission(self, request: HttpRequest) -> bool:
        """Whether this user may release."""
        return self.may(request, "release")

    def has_send_permission(self, request: HttpRequest) -> bool:
        """Whether this user may have sent now."""
        return self.may(request, "send")

    def may(self, request: HttpRequest, action: str) -> bool:
        """Whether this user has the permission of an action's name."""
        return request.user.has_perm(f"{self.opts.app_label}.{get_permission_codename(action, self.opts)}")

    def _check_permitted(self, request: HttpRequest) -> None:
        """Refuse an action that this user may not use; Django would only say that no action was selected."""
        asked = request.POST.getlist("action")
        if any(action.name in asked and not self.may(request, action.name) for action in self.message_actions):
            raise PermissionDenied

    def _known(self, parameters: QueryDict) -> QueryDict:
        """Return the parameters that this page knows, once each, so that no other can cause an error in Django."""
        names = [SEARCH_VAR, AFTER, *(each.parameter_name for each in self.list_filter)]  # type: ignore[union-attr]
        known = QueryDict(mutable=True)
        known.update({name: parameters[name] for name in names if name in parameters})
        return known

    def _gone(self, request: HttpRequest, key: str) -> HttpResponse:
        """Redirect to the message's history if it has one, else to the list."""
        text = _("This %(kind)s isn't there any more: settled, replayed, published, discarded or trimmed.")
        notes.warning(request, text % {"kind": self.opts.verbose_name})
        known = LogEntry.objects.filter(content_type=get_content_type_for_model(self.model), object_id=key)
        if self.kind.is_key(key) and known.exists():
            return HttpResponseRedirect(self.url_of("history", quote(key)))
        return HttpResponseRedirect(self.url_of("changelist"))

    def url_of(self, view: str, *arguments: str) -> str:
        """Return the URL of a view of this admin."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, args=arguments, current_app=self.admin_site.name)
