"""What a worker's processes have in memory: what they share, and what they don't load at all."""

import gc
import sys
from typing import Any

import pytest

from django_redis_streams.worker.supervisor.common_memory import common_memory

from .support.workers import Fleet

Raw = Any

# By package or module, who needs it instead.
NEEDLESS = {
    "django_redis_streams.admin": "web processes",
    "django_redis_streams.diagnosis": "`streams doctor` and `check --deploy`",
    "django_redis_streams.inspection": "pages, commands and scrapes",
    "django_redis_streams.following": "`streams tail`, and who calls follow()",
    "django_redis_streams.testing": "tests",
    "django_redis_streams.worker.http.server": "a worker with --metrics-port or --health-port",
    "http.server": "the same",
}
MEMORY = {"DJANGO_SETTINGS_MODULE": "tests.support.memory_settings", "TEST_HANDLERS": "tests.support.memory_handlers"}


def test_a_process_loads_nothing_that_others_need(raw: Raw, fleet: Fleet) -> None:
    """In a project without the admin; what was loaded before the fork would be in the supervisor's memory, too."""
    raw.xadd("orders", {"type": "modules", "n": 1})
    fleet.drain(**MEMORY)
    (loaded,) = fleet.noted("modules")
    assert "django_redis_streams.worker.process" in loaded
    assert [each for each in loaded if any(f"{each}.".startswith(f"{name}.") for name in NEEDLESS)] == []


def test_a_process_inherits_scripts_and_endpoints(raw: Raw, fleet: Fleet) -> None:
    """Made before the fork they are in memory once; each process would make them anew, in memory of its own."""
    raw.xadd("orders", {"type": "modules", "n": 1})
    fleet.drain(**MEMORY)
    scripts_and_endpoints = ["1", "1"]
    assert fleet.noted("inherited")[0] == scripts_and_endpoints


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what memory is shared")
def test_the_collector_leaves_shared_memory_shared(raw: Raw, fleet: Fleet) -> None:
    """A full run writes to all objects that it looks at; what there was before the fork would be copied: 19 MB."""
    raw.xadd("orders", {"type": "collect", "n": 1})
    fleet.drain(**MEMORY)
    ((before, after),) = fleet.noted("own")
    assert int(after) - int(before) < 4 * 1024


def test_after_the_worker_the_collector_looks_at_everything_again() -> None:
    """A program may go on when `call_command("runconsumers")` has returned. Within it, full runs are rarer."""
    before, threshold = gc.get_freeze_count(), gc.get_threshold()
    with common_memory():
        assert gc.get_freeze_count() > before + 1000
        assert gc.get_threshold() == (*threshold[:2], 10 * threshold[2])
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == threshold
