"""Makes a worker find, while it works, that its configuration can't work."""

import os
from pathlib import Path

from django_redis_streams.connections import Link
from django_redis_streams.exceptions import ConfigurationError
from django_redis_streams.worker.services.statistics import Statistics

step = Statistics.step


def fail_later(self: Statistics, link: Link) -> None:
    """Fail once the path exists."""
    step(self, link)
    if Path(os.environ["TEST_UNTIL"]).exists():
        raise ConfigurationError("told to give up")


Statistics.step = fail_later  # type: ignore[method-assign]
