"""A worker's process is killed at each step of a message's way, and its replacement finishes the work.

Nothing is lost and nothing copied twice. A message is run again only if its process was killed between the
begin of its run and the arrival of its acknowledgement.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams import publish

from ..support.books import books, letters, totals
from ..support.waiting import wait_until
from ..support.workers import Fleet
from . import row

Raw = Any
PUBLISHED = ["ok", "ok", "fail-once", "reject", "ok"]

# The steps, and the messages that are run once more than without a kill. All are in one batch, so all that are
# handled and not yet acknowledged come again.
AGAIN: dict[str, set[str]] = {
    "read": set(),
    "handled": {"ok"},
    "before:ack": {"ok", "fail-once", "reject"},
    "after:ack": set(),
    "before:retry": {"ok", "fail-once", "reject"},
    "after:retry": set(),
    "before:dead_letter": {"ok", "fail-once", "reject"},
    "after:dead_letter": set(),
    "before:promote": set(),
    # The consumer may have begun the promoted message before the process was killed.
    "after:promote": {"fail-once"},
    "before:claim": set(),
    "after:claim": set(),
    "before:hand_back": set(),
    "after:hand_back": set(),
    "before:make_group": set(),
    "after:make_group": set(),
}


OFTEN = ("read", "handled", "after:ack", "before:dead_letter", "after:promote")


@pytest.mark.parametrize("step", row(AGAIN, often=OFTEN))
def test_a_worker_that_is_killed_loses_and_doubles_nothing(raw: Raw, fleet: Fleet, tmp_path: Path, step: str) -> None:
    """Each message is settled once: one dead letter, one retry."""
    ids = {raw.xadd("orders", {"do": do}): do for do in PUBLISHED}
    killed = tmp_path / "killed"
    steps = f"{step}={killed}"
    if "claim" in step:
        # After a first kill there is something to claim.
        steps += f" read={tmp_path / 'first'}"
    said = fleet.drain(TEST_HANDLERS="tests.faults.killing", TEST_KILL=steps)
    assert killed.exists(), f"nothing reached the step {step!r}: {said}"
    assert totals(raw) == {"acknowledged": 4, "retried": 1, "dead-lettered": 1}
    assert books(raw).all == len(PUBLISHED)
    assert [letter.metadata["entry"] for letter in letters(raw)] == [each for each, do in ids.items() if do == "reject"]
    runs = Counter(message.removeprefix("orders/") for _, message, *_ in fleet.noted("began"))
    for entry, do in ids.items():
        usual = 2 if do == "fail-once" else 1
        assert usual <= runs[entry] <= usual + (do in AGAIN[step]), do
    assert raw.xlen("{orders}:redelivery:billing") == raw.hlen("{orders}:retry:billing:entries") == 0


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize("step", row(["before:promote", "after:promote"], often=["after:promote"]))
def test_a_promoter_that_is_killed_loses_and_doubles_no_delayed_message(
    raw: Raw, fleet: Fleet, tmp_path: Path, step: str
) -> None:
    """The next promoter moves the due messages, once the lease has ended."""
    published = {publish("orders", {"do": "ok"}, delay=0).id for _ in range(5)}
    killed = tmp_path / "killed"
    fleet.start(TEST_HANDLERS="tests.faults.killing", TEST_KILL=f"{step}={killed}")
    wait_until(lambda: totals(raw) == {"acknowledged": 5})
    wait_until(killed.exists)  # the messages may be handled before its process gets on
    assert sorted(fields["id"] for _, fields in raw.xrange("orders")) == sorted(published)
    assert not raw.exists("{orders}:delayed", "{orders}:delayed:entries")


def test_what_took_long_is_settled_before_the_next_begins(raw: Raw, fleet: Fleet, tmp_path: Path) -> None:
    """If a worker dies in the next message of the batch, the one before isn't run again."""
    publish = raw.pipeline()
    for do in ("sleep:0.2", f"die-once:{tmp_path / 'died'}", "ok"):
        publish.xadd("orders", {"do": do})
    publish.execute()
    fleet.drain()
    assert totals(raw) == {"acknowledged": 3}
    assert Counter(do.partition(":")[0] for _, _, do, *_ in fleet.noted("began")) == {
        "sleep": 1,
        "die-once": 2,
        "ok": 1,
    }
