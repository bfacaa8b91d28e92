"""The view that a web process serves to Prometheus."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..exceptions import ExtraMissing
from .exposition import rendered
from .state import Collector

__all__ = ["view"]


@transaction.non_atomic_requests  # a scrape works while the database is away, too
@never_cache
@require_safe
def view(request: HttpRequest) -> HttpResponse:
    """Show the gauges of all streams and groups. In a project's urls: `path("metrics", metrics.view)`."""
    try:
        answer = rendered(Collector().collect(), request.headers.get("Accept", ""))
    except ExtraMissing as error:
        return HttpResponse(f"{error}\n", status=501, content_type="text/plain; charset=utf-8")
    return HttpResponse(answer.body, content_type=answer.content_type)
