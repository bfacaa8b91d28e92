"""The samples of a scrape, read by Prometheus' own parser."""

from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

__all__ = ["families", "samples"]


def families(text: str, content_type: str) -> list[Any]:
    """Return the families of a scrape; fail if the text can't be parsed."""
    return list((openmetrics if "openmetrics" in content_type else plain)(text))


def samples(text: str, content_type: str = "text/plain") -> dict[tuple[str, ...], float]:
    """Return the samples by (name, values of the labels in the order of their names)."""
    return {
        (each.name, *(value for _, value in sorted(each.labels.items()))): each.value
        for family in families(text, content_type)
        for each in family.samples
    }
