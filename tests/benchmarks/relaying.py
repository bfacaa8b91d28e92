"""How fast the relay of the outbox works off a backlog that waits in PostgreSQL, on the same machine."""

import json
import os
from collections.abc import Callable

from tests.support.postgresql import NEEDS, Postgresql, programs

from .bench import Bench
from .figures import CannotMeasure, Comparison, figure
from .processes import Process

_ROUNDS = 3


@figure("outbox.relay")
def relay(bench: Bench) -> Comparison:
    """Rows a second that one relay sends and deletes, of 100,000 that wait, against `publish_many()` of the same."""
    found = programs()
    if found is None:
        raise CannotMeasure(NEEDS)
    database = Postgresql(found)
    os.environ["BENCH_DATABASE"] = json.dumps(database.settings)
    try:
        return bench.compare(
            "messages/s", ("relay", _measured(bench, "relay")), ("publish", _measured(bench, "publish")), rounds=_ROUNDS
        )
    finally:
        database.stop()


def _measured(bench: Bench, how: str) -> Callable[[], float]:
    """Return a function that measures messages a second; the program itself times them."""

    def measure() -> float:
        bench.client.flushdb()
        bench.pin(False)
        with Process(["-m", "tests.benchmarks.relayed", how], bench.url, None) as process:
            return float(process.printed())

    return measure
