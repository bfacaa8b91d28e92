"""A worker was suspended for longer than CLAIM_IDLE, and another took over its messages."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams.handlers import handler
from django_redis_streams.message import Message

from ..support.books import books, letters, totals
from ..support.waiting import wait_until
from ..support.workers import Fleet, working
from . import row

Raw = Any
# The end of the run that was suspended, once the worker is woken.
AWAKE = {"return": "ok", "fail": "fail", "reject": "reject"}
SETTLED = {"acknowledged": 4, "retried": 1, "dead-lettered": 1}


@pytest.mark.parametrize("awake", row(AWAKE, often=("reject",)))
def test_a_late_riser_neither_steals_back_nor_settles_what_another_has(
    raw: Raw, fleet: Fleet, tmp_path: Path, awake: str
) -> None:
    """The suspended message is run twice, the rest of its batch once, and the other worker settles all, once."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {"BACKOFF": (0.01, 0.02), "CLAIM_IDLE": 0.6}}}}
    woken = tmp_path / "woken"
    pipeline = raw.pipeline()
    for each in [f"first-waits:{woken}:{AWAKE[awake]}", "ok", "reject", "fail-once", "ok"]:
        pipeline.xadd("orders", {"do": each})
    first, *rest = pipeline.execute()
    sleeper = fleet.start()
    wait_until(Path(f"{woken}.first").exists, "it waits as the first that runs the message")
    own = fleet.runner()
    os.killpg(sleeper.pid, signal.SIGSTOP)
    fleet.start()
    wait_until(lambda: totals(raw) == SETTLED, f"{SETTLED}", deadline=120)
    woken.touch()
    os.killpg(sleeper.pid, signal.SIGCONT)
    # The woken worker works again: it gets some of the messages that are published from now on.
    later: list[str] = []
    while not works_again(fleet, own):
        later.append(raw.xadd("orders", {"do": "later"}))
        wait_until(lambda: totals(raw).get("acknowledged") == 4 + len(later))
    sleeper.terminate()
    fleet.finish(sleeper)
    assert totals(raw) == {**SETTLED, "acknowledged": 4 + len(later)}
    assert len(letters(raw)) == 1
    assert books(raw).all == 5 + len(later)
    runs = Counter(entry.removeprefix("orders/") for _, entry, *_ in fleet.noted("began"))
    assert runs[first] == 2
    assert [runs[each] for each in rest] == [1, 1, 2, 1]


def works_again(fleet: Fleet, pid: int) -> bool:
    """Return whether that process has handled a later message."""
    return any(do == "later" and process == str(pid) for *_, do, _, process in fleet.noted("ended"))


@pytest.mark.usefixtures("isolated_handlers", "hasty")
def test_a_living_worker_is_not_robbed(raw: Raw, streams: Any) -> None:
    """Its heartbeat renews a message that runs for longer than CLAIM_IDLE, and those waiting behind it."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 3}}}})
    runs: list[tuple[str, str]] = []
    finish = threading.Event()

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        runs.append((message.payload["n"], threading.current_thread().name))
        finish.wait(20)

    raw.xadd("orders", {"n": 1})
    raw.xadd("orders", {"n": 2})
    with working(name="slow"):
        wait_until(lambda: runs)
        with working(name="other") as other:
            began = time.monotonic()
            wait_until(lambda: other.runner.claiming.may_claim and time.monotonic() - began > 4)
            finish.set()
            wait_until(lambda: totals(raw) == {"acknowledged": 2})
    assert [n for n, _ in runs] == ["1", "2"]
    assert len({thread for _, thread in runs}) == 1
