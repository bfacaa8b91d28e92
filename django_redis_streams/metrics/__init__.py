"""Metrics for Prometheus: `view` for a project's urls, `Collector` for a registry of its own.

Both need the extra `prometheus`, and import it when they are first asked. `names` is all that is exported, `state`
the gauges read from the servers, `work` what a worker has done, `exposition` the text of a scrape.
"""

from .state import Collector
from .views import view
from .work import BOUNDS, Work, work_families

__all__ = ["BOUNDS", "Collector", "Work", "view", "work_families"]
