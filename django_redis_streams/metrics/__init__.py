"""Metrics for Prometheus: `view` for a project's urls, `Collector` for a registry of its own.

Both need the extra `prometheus`, and import it at their first use. `names` holds all exported names, `state`
reads the gauges from the servers, `work` holds a worker's counters, `exposition` makes the text of a scrape.
"""

from .state import Collector
from .views import view
from .work import BOUNDS, Work, work_families

__all__ = ["BOUNDS", "Collector", "Work", "view", "work_families"]
