"""The text formats of Prometheus, by its own client library: the extra `prometheus`, which may be missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..exceptions import ExtraMissing

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

__all__ = ["Rendered", "check_installed", "rendered"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The answer to a scrape."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Collected:
    """The collected families, with the interface that the encoders need."""

    families: tuple[Family, ...]

    def collect(self) -> Iterable[Family]:
        """Return all families."""
        return self.families


def check_installed() -> None:
    """Raise `ExtraMissing` where the client library isn't installed."""
    try:
        import prometheus_client  # noqa: F401, PLC0415  an extra: nothing imports it before it is asked for
    except ImportError:
        raise ExtraMissing(
            "Metrics need the package prometheus-client, which isn't installed: "
            'pip install "django-redis-streams[prometheus]"'
        ) from None


def rendered(families: Iterable[Family], accept: str) -> Rendered:
    """Return these families in the format that a scraper's `Accept` header asks for."""
    check_installed()
    # An extra, as above.
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    encode, content_type = choose_encoder(accept)
    collected: Any = _Collected(tuple(families))
    return Rendered(content_type, encode(collected))
