"""`runconsumers --max-memory`: a process that has grown too large makes room for another, at no message's cost."""

import re
from collections import Counter
from typing import Any

import pytest

from .support.books import totals
from .support.waiting import wait_until
from .support.workers import Fleet, waiting_reads

pytestmark = pytest.mark.usefixtures("interpreters")

Raw = Any
LEAK = 40


def publish(raw: Raw, *do: str) -> None:
    """Publish messages that are to do this, at once."""
    pipeline = raw.pipeline()
    for each in do:
        pipeline.xadd("orders", {"do": each})
    pipeline.execute()


def runs(fleet: Fleet) -> Counter[str]:
    """How often each message was begun."""
    return Counter(message for _, message, *_ in fleet.noted("began"))


def test_a_process_that_grows_is_replaced_and_no_message_is_lost_or_run_twice(raw: Raw, fleet: Fleet) -> None:
    """Again and again, at once, and the log says why, with both figures."""
    each = [f"keep:{LEAK}", "sleep:0.3", "ok", "ok", "ok"]
    publish(raw, *each * 6)
    worker = fleet.start("--max-memory", "110M")
    wait_until(lambda: totals(raw) == {"acknowledged": 30}, deadline=120)
    worker.terminate()
    said = fleet.finish(worker)
    assert set(runs(fleet).values()) == {1}
    assert len(runs(fleet)) == 30
    told = re.findall(r"Process (\d+) uses (\d+) MiB, more than --max-memory \(110 MiB\)", said)
    assert len(told) >= 2
    assert all(int(used) > 110 for _, used in told)
    assert {pid for pid, _ in told} <= {pid for *_, pid in fleet.noted("ended")}
    assert "Another starts in" not in said


def test_a_replaced_process_finishes_what_it_runs(raw: Raw, fleet: Fleet, tmp_path: Any) -> None:
    """The neighbours of the thread that leaked too."""
    finish = tmp_path / "finish"
    worker = fleet.start("--threads", "2", "--max-memory", "110M")
    wait_until(lambda: waiting_reads(raw) == 2)
    (own,) = fleet.children(worker)
    publish(raw, f"wait:{finish}")
    wait_until(lambda: fleet.noted("began"))
    publish(raw, *[f"keep:{LEAK}"] * 3)
    wait_until(lambda: len(fleet.noted("ended")) >= 2)
    assert fleet.children(worker) == [own]
    finish.touch()
    wait_until(lambda: totals(raw) == {"acknowledged": 4}, deadline=120)
    wait_until(lambda: fleet.children(worker) not in ([], [own]))
    worker.terminate()
    fleet.finish(worker)
    assert set(runs(fleet).values()) == {1}


def test_a_worker_that_drains_goes_on_in_the_next_process(raw: Raw, fleet: Fleet) -> None:
    """Its memory is no reason to leave work behind."""
    publish(raw, *[f"keep:{LEAK}", "sleep:0.3"] * 4)
    said = fleet.drain("--max-memory", "110M")
    assert "more than --max-memory" in said
    assert len({pid for *_, pid in fleet.noted("ended")}) >= 2
    assert totals(raw) == {"acknowledged": 8}
    assert set(runs(fleet).values()) == {1}
