"""Django's change list for messages: pages by cursor, a search that says how far it got, and the problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.contrib.admin.utils import model_ngettext
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest

from ..inspection import Cursor, Page
from .listing import Listing
from .problems import EXPECTED, error_text, problem_texts

__all__ = ["AFTER", "MessageList"]

# The URL parameter that holds the cursor.
AFTER: Final = "after"


class MessageList(ChangeList):
    """The list; `page` is the page of `inspection`, `problems` are sentences about what couldn't be shown."""

    page: Page[Any] = Page(())
    problems: Sequence[str] = ()

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:  # noqa: ARG002
        """Return the listing, narrowed down by the filters, the search and the cursor of the request."""
        self.filter_params.pop(AFTER, None)
        self.params.pop(AFTER, None)
        self.filter_specs, self.has_filters, *_, self.has_active_filters = self.get_filters(request)
        self.clear_all_filters_qs = self.get_query_string(remove=self.get_filters_params())
        self.after = Cursor.parse(request.GET.get(AFTER, ""))
        listing: Any = self.root_queryset
        for spec in self.filter_specs:
            listing = spec.queryset(request, listing)
        return listing.narrowed(text=self.query, after=self.after)

    def get_results(self, request: HttpRequest) -> None:  # noqa: ARG002
        """Read the page."""
        self.result_list: list[Any] = []
        try:
            self.page, self.result_list = self.queryset.page(self.list_per_page)
            self.problems = problem_texts(self.page.problems)
        except EXPECTED as error:
            self.problems = [error_text(error)]
        self.result_count = self.full_result_count = self.page.total
        self.show_full_result_count = self.show_admin_actions = bool(self.result_list)
        self.can_show_all, self.multi_page, self.paginator = False, False, None

    @property
    def name(self) -> str:
        """The name of the messages, singular or plural."""
        return model_ngettext(self.opts, self.page.total)

    @property
    def first_url(self) -> str:
        """The URL of the first page; "" on the first page."""
        return self.get_query_string() if self.after else ""

    @property
    def next_url(self) -> str:
        """The URL of the next page; "" on the last page."""
        return self.get_query_string({AFTER: str(self.page.next)}) if self.page.next else ""

    @property
    def across_pages(self) -> int:
        """The most messages, from this page on, that an action may take; 0 if no page follows."""
        return Listing.most if self.page.next else 0

    def get_ordering_field_columns(self) -> dict[int, Any]:
        """Return no fields: the server decides the order."""
        return {}
