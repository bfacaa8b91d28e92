"""Consumer groups in the admin: the state of each, and the actions to pause and resume it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib import messages as notes
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from .. import connections
from ..exceptions import ServerUnreachable
from ..inspection import GroupState, StreamState, overview
from ..inspection.records import moment
from ..models import ConsumerGroup
from .confirmation import CONFIRMED
from .group_actions import GROUP_ACTIONS, GroupAction
from .identity import join, split
from .problems import EXPECTED, error_text, problem_texts
from .read_only import ReadOnlyAdmin
from .text import shortened
from .times import ago

__all__ = ["ConsumerGroupAdmin"]

# The message lists that can be filtered by group.
_LISTS: Final = ("pendingmessage", "retryingmessage", "deadletter")


@admin.register(ConsumerGroup)
class ConsumerGroupAdmin(ReadOnlyAdmin):
    """The declared groups of all streams, in the order of the settings."""

    @connections.hurried()
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list, or handle an action that is posted to it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method in ("GET", "HEAD"):
            return self._list(request, extra_context or {})
        if request.method == "POST":
            return self._act(request) or HttpResponseRedirect(self._url())
        return HttpResponseNotAllowed(("GET", "HEAD", "POST"))

    @connections.hurried()
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,  # noqa: ARG002
        form_url: str = "",  # noqa: ARG002
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> HttpResponse:
        """Redirect to the list, which shows all that is known of a group."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return HttpResponseRedirect(self._url())

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> ConsumerGroup | None:  # noqa: ARG002
        """Return the group that a history page is about, without asking the server: the history outlives the group."""
        return _instance(object_id)

    def _may_pause(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.pause_{self.opts.model_name}")

    def _list(self, request: HttpRequest, extra_context: Mapping[str, Any]) -> HttpResponse:
        lists = [name for name in _LISTS if request.user.has_perm(f"{self.opts.app_label}.view_{name}")]
        groups: list[dict[str, Any]] = []
        try:
            found = overview()
            problems = problem_texts(found.problems)
            groups += [self._row(stream, group, lists) for stream in found.streams for group in stream.groups]
        except EXPECTED as error:
            problems = [error_text(error)]
        context = {
            "title": capfirst(self.opts.verbose_name_plural),
            "groups": groups,
            "problems": problems,
            # Else Django's template styles the first column inline, which a content security policy may refuse.
            "actions_on_top": True,
            "may_pause": self._may_pause(request),
            **extra_context,
        }
        return self._page(request, "consumer_groups.html", context)

    def _row(self, stream: StreamState, group: GroupState, lists: list[str]) -> dict[str, Any]:
        query = urlencode({"stream": stream.name, "group": group.name}, errors="surrogateescape")
        return {
            "key": join(stream.name, group.name),
            "stream": shortened(stream.name),
            "group": shortened(group.name),
            "state": group,
            "paused": ago(group.paused, moment(stream.clock.now)),
            "action": GROUP_ACTIONS["resume" if group.paused else "pause"],
            **{each: f"{self._url(each)}?{query}" for each in lists},
        }

    def _act(self, request: HttpRequest) -> HttpResponse | None:
        """Return the page that asks to confirm a posted action, or None once it is confirmed and done.

        None is also returned where there is nothing to ask.
        """
        if not self._may_pause(request):
            raise PermissionDenied
        action, group = GROUP_ACTIONS.get(request.POST.get("action", "")), _instance(request.POST.get("group", ""))
        if action is None or group is None:
            return None
        if CONFIRMED in request.POST:
            self._do(request, action, group)
            return None
        context = {
            "title": action.question % {"group": group},
            "original": action.button,
            "action": action,
            "key": group.pk,
            "confirmed": CONFIRMED,
        }
        return self._page(request, "group_confirmation.html", context)

    def _do(self, request: HttpRequest, action: GroupAction, group: ConsumerGroup) -> None:
        stream, name = split(group.pk, 2) or ("", "")
        try:
            changed = action.do(stream, name, by=request.user.get_username())
        except EXPECTED as error:
            notes.error(request, error_text(error))
            if isinstance(error, ServerUnreachable):
                unanswered = _("%(action)s The server's answer was lost: it may not have happened.")
                _log(request, group, unanswered % {"action": action.log})
            return
        if changed:
            _log(request, group, str(action.log))
            notes.success(request, action.done % {"group": group})
        else:
            notes.warning(request, action.before % {"group": group})

    def _page(self, request: HttpRequest, template: str, context: Mapping[str, Any]) -> HttpResponse:
        request.current_app = self.admin_site.name
        whole = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "cl": {"opts": self.opts},
            "media": self.media,
            "has_view_permission": True,
            **context,
        }
        return TemplateResponse(request, f"admin/django_redis_streams/{template}", whole)

    def _url(self, model: str | None = None) -> str:
        """Return the URL of this list, or of another model's list."""
        name = f"admin:{self.opts.app_label}_{model or self.opts.model_name}_changelist"
        return reverse(name, current_app=self.admin_site.name)


def _instance(key: str) -> ConsumerGroup | None:
    """Return the group that a key names, or None if the text isn't a group's key."""
    parts = split(key, 2)
    return ConsumerGroup(id=key, stream=shortened(parts[0]), group=shortened(parts[1])) if parts else None


def _log(request: HttpRequest, group: ConsumerGroup, text: str) -> None:
    by: Any = request.user.pk
    LogEntry.objects.log_actions(user_id=by, queryset=[group], action_flag=CHANGE, change_message=text)
