"""The master is replaced amid the work: publishing and handling go on, by the master that the sentinels name then.

What only the old master had is lost with it: replication is asynchronous. So these tests count what arrives.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from django_redis_streams import publish
from django_redis_streams.exceptions import ServerUnreachable

from ..support.books import books
from ..support.sentinels import MASTER, DataServer, SentinelSet
from ..support.waiting import wait_until
from ..support.workers import Fleet

# In messages a second.
RATE = 500


@pytest.fixture
def sentinel_set() -> Iterator[SentinelSet]:
    """Return a set whose master a test may kill or stop."""
    made = SentinelSet()
    yield made
    made.stop()


@pytest.fixture
def workers(sentinel_set: SentinelSet, streams: Callable[..., None], tmp_path: Path) -> Iterator[Fleet]:
    """Two processes of a worker on the set, to which the test's own process publishes."""
    fleet = Fleet(tmp_path, sentinel_set.url())
    streams(fleet.streams, URL=fleet.url)
    fleet.start("--processes", "2")
    publish("orders", {"do": "first"})
    wait_until(lambda: handled(fleet), "a message that is handled")
    yield fleet
    fleet.end()


def handled(fleet: Fleet) -> Counter[str]:
    """Return how often each message was handled, by what it says."""
    return Counter(words[2] for words in fleet.noted("ended"))


class Publisher(threading.Thread):
    """Publishes numbered messages at `RATE`, whatever becomes of them; knows when each was accepted."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.accepted: dict[str, float] = {}
        self.refused = 0
        self._ends = threading.Event()

    def run(self) -> None:
        """Publish until the end."""
        began, number = time.monotonic(), 0
        while not self._ends.wait(max(0.0, began + number / RATE - time.monotonic())):
            number += 1
            try:
                publish("orders", {"do": f"n{number}"})
            except ServerUnreachable:
                self.refused += 1
            else:
                self.accepted[f"n{number}"] = time.monotonic()

    def __enter__(self) -> Self:
        self.start()
        wait_until(lambda: len(self.accepted) > RATE, "a second of load")
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self.join(10)

    def since(self, when: float) -> list[str]:
        """Return what was accepted since then."""
        return [each for each, at in self.accepted.copy().items() if at > when]


def _published(do: str) -> bool:
    """Return whether the server has accepted a message; the first may meet the lost connection."""
    with suppress(ServerUnreachable):
        publish("orders", {"do": do})
        return True
    return False


def check_it_goes_on(publisher: Publisher, workers: Fleet, elected: float) -> None:
    """Wait until messages that were published since the election are accepted, and handled."""
    wait_until(lambda: publisher.since(elected), "a message that the new master accepts")
    wait_until(lambda: set(publisher.since(elected)) & set(handled(workers)), "a message of the new master's, handled")


def check_all_is_handled(new: DataServer, publisher: Publisher, workers: Fleet, elected: float) -> None:
    """Wait until nothing waits; all that the new master has accepted was handled."""
    wait_until(lambda: (found := books(new.raw())).unread + found.pending + found.retrying == 0, "the end of the work")
    missing = set(publisher.since(elected)) - set(handled(workers))
    assert not missing
    lost = set(publisher.accepted) - set(handled(workers))
    # What was accepted in the old master's last moments is lost, and no more than that.
    assert len(lost) < RATE


def test_a_master_that_is_killed_is_replaced_under_load(sentinel_set: SentinelSet, workers: Fleet) -> None:
    """Publishing and handling go on after the election."""
    with Publisher() as publisher:
        old = sentinel_set.master
        old.kill9()
        new = sentinel_set.await_other(old)
        elected = time.monotonic()
        check_it_goes_on(publisher, workers, elected)
    check_all_is_handled(new, publisher, workers, elected)


def test_a_master_that_is_stopped_and_wakes_up_later(sentinel_set: SentinelSet, workers: Fleet) -> None:
    """It is a replica then. Nobody goes on with it, and what it had in hand isn't handled again and again.

    Its connections stay: what it doesn't answer is noticed after five or six seconds, however soon sentinels elect.
    """
    for each in sentinel_set.sentinels:
        each.raw().execute_command("SENTINEL", "SET", MASTER, "DOWN-AFTER-MILLISECONDS", 3000)
    with Publisher() as publisher:
        old = sentinel_set.master
        old.pause()
        new = sentinel_set.await_other(old)
        elected = time.monotonic()
        check_it_goes_on(publisher, workers, elected)
        old.cont()
        wait_until(lambda: old.role == "slave" and old.in_step, "a replica that was the master")
        woken = time.monotonic()
        wait_until(lambda: len(publisher.since(woken)) > RATE, "a second of load after that")
    check_all_is_handled(new, publisher, workers, elected)
    assert max(handled(workers).values()) <= 3


def test_a_failover_that_was_asked_for_loses_no_more_than_its_moment(sentinel_set: SentinelSet, workers: Fleet) -> None:
    """The old master is told to be a replica: READONLY, and closed connections, make all ask the sentinels anew."""
    with Publisher() as publisher:
        new = sentinel_set.fail_over()
        elected = time.monotonic()
        check_it_goes_on(publisher, workers, elected)
    check_all_is_handled(new, publisher, workers, elected)


def test_groups_that_the_new_master_has_not_are_made_again(sentinel_set: SentinelSet, workers: Fleet) -> None:
    """Where they were recorded; a group without a record begins at its START, or at 0 where it was read before."""
    replica = next(each for each in sentinel_set.servers if each is not sentinel_set.master)
    # The new master has neither the stream nor its group, nor any record of them.
    old = sentinel_set.master
    old.kill9()
    new = sentinel_set.await_other(old)
    assert new is replica
    new.raw().flushall()
    wait_until(lambda: _published("later"), "a message that the new master accepts")
    wait_until(lambda: "later" in handled(workers), "a message of the group that was made again")
