"""Messages that end their worker's process, or never return: only these become dead letters, and no others wait."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams.worker.execution.coroutines.threads import THREADS

from ..support.books import books, letters, totals
from ..support.waiting import wait_until
from ..support.workers import Fleet
from . import row

Raw = Any
GROUP = {"BACKOFF": (0.01, 0.02), "MAX_RETRIES": 1}
SUSPECTS = "{orders}:suspects:billing"


@pytest.fixture
def declare(fleet: Fleet) -> Callable[..., None]:
    """Return a function that declares the group billing with some settings, and other groups."""

    def declared(others: Any = (), **settings: Any) -> None:
        groups = {"billing": {**GROUP, **settings}, **dict(others)}
        fleet.streams = {"orders": {"GROUPS": groups}}

    declared()
    return declared


def publish(raw: Raw, *does: str, **fields: str) -> None:
    """Publish a message for each of these."""
    pipeline = raw.pipeline()
    for do in does:
        pipeline.xadd("orders", {"do": do, **fields})
    pipeline.execute()


def runs(fleet: Fleet, do: str, group: str = "billing") -> list[int]:
    """Return how often each message that asks for this was begun."""
    return list(
        Counter(message for of, message, what, *_ in fleet.noted("began") if (of, what) == (group, do)).values()
    )


def assert_buried(raw: Raw, count: int, how: str) -> None:
    """Assert that so many dead letters crashed the worker in this way, by this handler, and no suspect is left."""
    found = letters(raw)
    assert len(found) == count
    for each in found:
        assert each.metadata["reason"] == "crashed the worker"
        assert each.metadata["handler"] == "tests.support.obedient_handlers._declare.<locals>.run"
        assert how in each.metadata["error"]
    assert not raw.exists(SUSPECTS)


# ---------------------------------------------------------------- crashes


@pytest.mark.usefixtures("declare")
@pytest.mark.parametrize(
    ("do", "how"),
    [
        pytest.param("segfault", "SIGSEGV", marks=pytest.mark.slow),
        ("exit-hard:0", "exit code 0"),
        pytest.param("exit-hard:3", "exit code 3", marks=pytest.mark.slow),
        pytest.param("die", "SIGKILL", marks=pytest.mark.slow),
    ],
)
def test_a_message_that_ends_its_worker_is_dead_lettered_alone(raw: Raw, fleet: Fleet, do: str, how: str) -> None:
    """It runs first with others and MAX_CRASHES times alone; the others are run, and --drain waits for all."""
    publish(raw, *["ok"] * 5, do, *["ok"] * 5)
    fleet.drain()
    assert totals(raw) == {"acknowledged": 10, "dead-lettered": 1}
    assert_buried(raw, 1, how)
    assert runs(fleet, do) == [3]
    assert books(raw).all == 11


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("poison", "threads"),
    [(2, "8"), *(pytest.param(10, each, marks=pytest.mark.slow) for each in ("1", "8"))],
)
def test_of_many_only_the_poisonous_are_dead_lettered(
    raw: Raw, fleet: Fleet, declare: Any, threads: str, poison: int
) -> None:
    """No neighbour is dead-lettered: none of the batch, of another thread, or of a slow group beside it."""
    declare({"slow": GROUP})
    every, count = 1_000, 1_000 * poison
    publish(raw, *("segfault-for:billing" if n % every == every - 1 else "sleep-for:slow:0.002" for n in range(count)))
    worker = fleet.start("orders:billing", "orders:slow", "--threads", threads)
    wait_until(lambda: totals(raw) == {"acknowledged": count - poison, "dead-lettered": poison}, deadline=120)
    wait_until(lambda: totals(raw, "slow") == {"acknowledged": count}, deadline=120)
    worker.terminate()
    fleet.finish(worker)
    assert_buried(raw, poison, "SIGSEGV")


@pytest.mark.usefixtures("declare")
def test_what_crashes_once_is_acknowledged_from_quarantine(raw: Raw, fleet: Fleet, tmp_path: Path) -> None:
    """One crash may be bad luck: a run that returns clears the message."""
    publish(raw, "ok", f"die-once:{tmp_path / 'died'}", "ok")
    said = fleet.drain()
    assert "SIGKILL. It runs next in quarantine" in said
    assert totals(raw) == {"acknowledged": 3}
    assert not raw.exists(SUSPECTS)


@pytest.mark.slow
def test_replayed_it_begins_anew(raw: Raw, fleet: Fleet, streams: Any, declare: Any) -> None:
    """A replayed message has no attempt and no suspicion: once its cause is mended, it is acknowledged."""
    from django_redis_streams.operations import dead_letters  # noqa: PLC0415  it reads the settings that `streams` has set

    declare(MAX_CRASHES=1)
    streams({"orders": {"GROUPS": {"billing": {}}}})
    raw.xadd("orders", {"do": "die"})
    fleet.drain()
    ((entry, _),) = raw.xrange("{orders}:dlq")
    dead_letters.replay("orders", [entry], by="ann")
    assert not raw.exists(SUSPECTS)
    fleet.drain()
    assert_buried(raw, 1, "SIGKILL")
    assert runs(fleet, "die") == [4]


@pytest.mark.slow
def test_two_workers_share_the_runs_of_one_poisonous_message(raw: Raw, fleet: Fleet, declare: Any) -> None:
    """Each worker has a quarantine: no run is counted twice, and none is one too many."""
    declare(MAX_CRASHES=4)
    publish(raw, "die", *["sleep:0.01"] * 50)
    workers = [fleet.start() for _ in range(2)]
    wait_until(lambda: totals(raw) == {"acknowledged": 50, "dead-lettered": 1})
    for each in workers:
        each.terminate()
        fleet.finish(each)
    assert runs(fleet, "die") == [5]
    assert_buried(raw, 1, "begun 4 times")


@pytest.mark.usefixtures("declare")
def test_a_stop_takes_the_run_in_quarantine_back(raw: Raw, fleet: Fleet, tmp_path: Path) -> None:
    """The message stays a suspect with no run counted, and the next worker gets it at once."""
    died, finish = tmp_path / "died", tmp_path / "finish"
    publish(raw, f"die-then-wait:{died}:{finish}")
    worker = fleet.start("--shutdown-timeout", "0.3")
    wait_until(lambda: len(fleet.noted("began")) == 2)
    assert [json.loads(each)["runs"] for each in raw.hvals(SUSPECTS)] == [1]
    worker.terminate()
    fleet.finish(worker, code=1)
    assert [json.loads(each)["runs"] for each in raw.hvals(SUSPECTS)] == [0]
    assert [each["consumer"] for each in raw.xpending_range("orders", "billing", "-", "+", 10)] == ["returned"]
    finish.touch()
    fleet.drain()
    assert totals(raw) == {"acknowledged": 1}
    assert not raw.exists(SUSPECTS)


@pytest.mark.usefixtures("declare")
def test_what_outlived_two_hosts_is_run_in_quarantine(raw: Raw, fleet: Fleet, declare: Any) -> None:
    """A message delivered once is run with the others, one delivered twice alone, though no process crashed here."""
    declare(CLAIM_IDLE=0.5)
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    publish(raw, "ok", "die", "ok")
    raw.xreadgroup("billing", "dead", {"orders": ">"})
    ids = [each["message_id"] for each in raw.xpending_range("orders", "billing", "-", "+", 10)]
    raw.xclaim("orders", "billing", "dead", 0, [ids[1]], retrycount=2, justid=True)
    said = fleet.drain()
    assert totals(raw) == {"acknowledged": 2, "dead-lettered": 1}
    assert runs(fleet, "die") == [2]
    assert "Another starts" not in said


@pytest.mark.usefixtures("declare")
def test_a_quarantine_that_is_killed_is_started_again(raw: Raw, fleet: Fleet, tmp_path: Path) -> None:
    """The next quarantine settles the message that was running; it was begun once more, and has one run less."""
    finish = tmp_path / "finish"
    do = f"die-then-wait:{tmp_path / 'died'}:{finish}"
    publish(raw, "ok", do, "ok")
    worker = fleet.start()
    wait_until(lambda: runs(fleet, do) == [2])
    pids = [int(pid) for *_, what, _, pid in fleet.noted("began") if what == do]
    os.kill(pids[-1], signal.SIGKILL)
    finish.touch()
    wait_until(lambda: totals(raw) == {"acknowledged": 3})
    worker.terminate()
    fleet.finish(worker)
    assert runs(fleet, do) == [3]
    assert not raw.exists(SUSPECTS)


# ---------------------------------------------------------------- time-outs


@pytest.mark.parametrize("do", row(["sleep:600", "hold-gil"], often=["hold-gil"]))
def test_a_handler_that_does_not_return_is_ended_at_its_timeout(raw: Raw, fleet: Fleet, declare: Any, do: str) -> None:
    """It counts as a failure, which is retried and then dead-lettered. Its neighbours finish, there or elsewhere."""
    declare(TIMEOUT=1)
    publish(raw, "ok", "ok", do, "ok", "ok")
    said = fleet.drain("orders:billing", "--threads", "2", deadline=120)
    assert totals(raw) == {"acknowledged": 4, "dead-lettered": 1, "retried": 1}
    (letter,) = letters(raw)
    assert letter.metadata["reason"] == "retries exhausted"
    assert "longer than its TIMEOUT of 1 s" in letter.metadata["error"]
    assert letter.metadata["attempt"] == 2
    # The retry may take the GIL while the other thread runs a neighbour: then both are run alone, too.
    in_vain = said.count("was held up, and it can't be told by which of 2") // 2
    assert runs(fleet, do) == [2 + in_vain], said
    assert not raw.exists(SUSPECTS)


def test_neighbours_of_a_handler_that_does_not_return_finish_what_they_run(
    raw: Raw, fleet: Fleet, declare: Any
) -> None:
    """They run once: they have --shutdown-timeout, and meanwhile a replacement process runs the other messages."""
    declare({"other": {**GROUP, "TIMEOUT": 60}}, TIMEOUT=0.5, MAX_RETRIES=0)
    publish(raw, "sleep-for:billing:600", "sleep-for:other:2", "ok")
    worker = fleet.start()
    wait_until(lambda: totals(raw) == {"acknowledged": 2, "dead-lettered": 1})
    wait_until(lambda: totals(raw, "other") == {"acknowledged": 3})
    worker.terminate()
    fleet.finish(worker)
    assert runs(fleet, "sleep-for:other:2", "other") == [1]


def test_of_a_batch_that_does_not_return_each_message_is_run_alone(raw: Raw, fleet: Fleet, declare: Any) -> None:
    """So the guilty message is found, and the others are acknowledged."""
    declare(TIMEOUT=1, MAX_RETRIES=0)
    publish(raw, "ok", "ok", "sleep:600", "ok", type="batched")
    fleet.drain(TEST_HANDLERS="tests.faults.stopping", deadline=120)
    assert totals(raw) == {"acknowledged": 3, "dead-lettered": 1}
    (letter,) = letters(raw)
    assert letter.fields[:2] == ["do", "sleep:600"]
    assert "longer than its TIMEOUT" in letter.metadata["error"]


@pytest.mark.slow
def test_a_silent_process_keeps_what_it_holds(raw: Raw, fleet: Fleet, declare: Any) -> None:
    """No other worker runs the message of a handler that holds the GIL for longer than CLAIM_IDLE."""
    declare(TIMEOUT=8, CLAIM_IDLE=3, MAX_RETRIES=0)
    publish(raw, "hold-gil")
    workers = [fleet.start() for _ in range(2)]
    wait_until(lambda: totals(raw) == {"dead-lettered": 1})
    for each in workers:
        each.terminate()
        fleet.finish(each)
    assert runs(fleet, "hold-gil") == [1]


@pytest.mark.slow
def test_a_neighbour_that_another_keeps_from_ending_is_not_to_blame(raw: Raw, fleet: Fleet, declare: Any) -> None:
    """If no thread of the process makes progress, all its messages are run alone; there the guilty one fails."""
    declare({"other": {"TIMEOUT": 1, "MAX_RETRIES": 0}}, TIMEOUT=1, MAX_RETRIES=0)
    publish(raw, "hold-gil-for:billing")
    said = fleet.drain(deadline=120)
    assert "nobody can see by which" in said
    assert totals(raw) == {"dead-lettered": 1}
    assert totals(raw, "other") == {"acknowledged": 1}
    (letter,) = letters(raw)
    assert "longer than its TIMEOUT of 1 s" in letter.metadata["error"]
    assert not raw.keys("{orders}:suspects:*")


def test_a_process_that_somebody_stops_blames_nobody(raw: Raw, fleet: Fleet, declare: Any, tmp_path: Path) -> None:
    """Another process runs its messages before it is woken, and none of their runs has failed."""
    declare(TIMEOUT=1, MAX_RETRIES=0)
    finish = tmp_path / "finish"
    publish(raw, f"first-waits:{finish}:ok")
    worker = fleet.start()
    wait_until(Path(f"{finish}.first").exists, "it waits as the first that runs the message")
    os.kill(int(fleet.noted("began")[0][-1]), signal.SIGSTOP)
    wait_until(lambda: totals(raw) == {"acknowledged": 1})
    worker.terminate()
    fleet.finish(worker)
    assert len(fleet.noted("began")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("type_", ["", "async"])
def test_a_worker_that_was_stopped_and_woken_blames_nobody(
    raw: Raw, fleet: Fleet, declare: Any, type_: str, tmp_path: Path
) -> None:
    """However long it was stopped, its messages have as much time left as before."""
    declare(TIMEOUT=8, MAX_RETRIES=0)
    finish = tmp_path / "finish"
    count = 3 if type_ else 1
    publish(raw, *[f"wait:{finish}"] * count, type=type_)
    worker = fleet.start(TEST_HANDLERS="tests.faults.stopping")
    wait_until(lambda: len(fleet.noted("began")) == count)
    os.killpg(worker.pid, signal.SIGSTOP)
    time.sleep(10)
    os.killpg(worker.pid, signal.SIGCONT)
    time.sleep(3)
    finish.touch()
    wait_until(lambda: totals(raw) == {"acknowledged": count})
    worker.terminate()
    assert "TIMEOUT" not in fleet.finish(worker)
    assert len(fleet.noted("began")) == count


# ---------------------------------------------------------------- an event loop that stands still


@pytest.mark.parametrize(
    "do",
    row(
        [
            "loop:sleep:3600",
            "loop:hold-gil",
            "now:sleep:3600",
            "task:loop:sleep:3600",
            "task:loop:hold-gil",
            "sleep:600",
        ],
        often=["loop:sleep:3600"],
    ),
)
def test_of_coroutines_only_the_one_that_holds_the_loop_is_dead_lettered(
    raw: Raw, fleet: Fleet, declare: Any, do: str
) -> None:
    """Coroutines beside it are blocked too, but end well, in its process or after it."""
    declare(TIMEOUT=1, MAX_RETRIES=0)
    publish(raw, *["sleep:0.4"] * 4, do, *["sleep:0.4"] * 4, type="async")
    fleet.drain(TEST_HANDLERS="tests.faults.stopping", deadline=120)
    assert totals(raw) == {"acknowledged": 8, "dead-lettered": 1}
    (letter,) = letters(raw)
    assert letter.metadata["reason"] == "retries exhausted"
    assert "longer than its TIMEOUT of 1 s" in letter.metadata["error"]
    assert letter.fields[:2] == ["do", do]
    assert not raw.exists(SUSPECTS)


@pytest.mark.slow
def test_of_a_batch_that_holds_the_loop_each_message_is_run_alone(raw: Raw, fleet: Fleet, declare: Any) -> None:
    """The guilty message is found, and coroutines beside the batch aren't blamed."""
    declare(TIMEOUT=1, MAX_RETRIES=0)
    publish(raw, *["sleep:0.6"] * 3, type="async")
    publish(raw, "ok", "loop:sleep:3600", "ok", type="async-batched")
    fleet.drain(TEST_HANDLERS="tests.faults.stopping", deadline=120)
    assert totals(raw) == {"acknowledged": 5, "dead-lettered": 1}
    (letter,) = letters(raw)
    assert letter.fields[:2] == ["do", "loop:sleep:3600"]
    assert not raw.exists(SUSPECTS)


@pytest.mark.slow
def test_coroutines_in_flight_have_time_to_end_when_one_is_ended(raw: Raw, fleet: Fleet, declare: Any) -> None:
    """While their loop turns they make progress: they have --shutdown-timeout, and run once."""
    declare(MAX_RETRIES=0)
    publish(raw, *["sleep:4.5"] * 5, type="async")
    raw.xadd("orders", {"type": "stubborn", "do": ""})
    fleet.drain(TEST_HANDLERS="tests.faults.stopping", deadline=120)
    assert totals(raw) == {"acknowledged": 5, "dead-lettered": 1}
    assert runs(fleet, "sleep:4.5") == [1] * 5


@pytest.mark.parametrize("do", row(["database:sleep:3600", "task:database:sleep:3600"], often=["database:sleep:3600"]))
def test_of_coroutines_only_the_one_that_holds_their_database_thread_is_dead_lettered(
    raw: Raw, fleet: Fleet, declare: Any, do: str
) -> None:
    """A thread can't be ended: its process is replaced, and the coroutines that waited for it run again elsewhere."""
    declare(TIMEOUT=1, MAX_RETRIES=0)
    publish(raw, do, *["orm"] * 5, type="async")
    worker = fleet.start(TEST_HANDLERS="tests.faults.stopping")
    wait_until(lambda: letters(raw))
    publish(raw, *["orm"] * 5, type="async")
    wait_until(lambda: totals(raw) == {"acknowledged": 10, "dead-lettered": 1})
    worker.terminate()
    said = fleet.finish(worker)
    assert "has coroutines whose calls in threads go on beyond their TIMEOUT, and hold up others" in said
    (letter,) = letters(raw)
    assert letter.fields[:2] == ["do", do]
    assert not raw.exists(SUSPECTS)


def test_as_many_hanging_calls_as_there_are_threads_hold_up_nobody_for_good(
    raw: Raw, fleet: Fleet, declare: Any
) -> None:
    """All calls of `asyncio.to_thread` share some threads: if all these hang, the process is replaced."""
    declare(TIMEOUT=1, MAX_RETRIES=0)
    count = THREADS
    publish(raw, *["thread:sleep:3600"] * count, *["thread:ok"] * 3, type="async")
    worker = fleet.start(TEST_HANDLERS="tests.faults.stopping")
    wait_until(lambda: letters(raw))
    publish(raw, *["thread:ok"] * 3, type="async")
    wait_until(lambda: totals(raw) == {"acknowledged": 6, "dead-lettered": count})
    worker.terminate()
    assert "and hold up others. Another process replaces it" in fleet.finish(worker)


@pytest.mark.parametrize("do", ["thread:sleep:3600", "database:sleep:3600", "left"])
def test_what_goes_on_when_its_coroutine_has_ended_keeps_no_worker_from_its_end(
    raw: Raw, fleet: Fleet, declare: Any, do: str
) -> None:
    """The worker ends despite a call in a thread, which nobody can end, and a task that can't be cancelled."""
    declare(TIMEOUT=0.5, MAX_RETRIES=0)
    publish(raw, do, type="async")
    said = fleet.drain(TEST_HANDLERS="tests.faults.stopping", deadline=120)
    assert "don't return: 1, of 'orders/" in said or "left behind don't end" in said
    assert books(raw).unread == books(raw).pending == 0


# ---------------------------------------------------------------- before a handler is called, and after it

DECODING = {"TEST_HANDLERS": "tests.faults.decoding"}


@pytest.mark.parametrize("alone", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_what_cannot_be_decoded_within_the_timeout_is_dead_lettered(
    raw: Raw, fleet: Fleet, declare: Any, alone: bool
) -> None:
    """It becomes an invalid dead letter that keeps its bytes. It is found alone, and its neighbours are run."""
    declare(TIMEOUT=1)
    neighbours = [] if alone else ["ok"] * 3
    publish(raw, *neighbours)
    raw.xadd("orders", {"do": "ok", "decode": "hang"})
    publish(raw, *neighbours)
    said = fleet.drain(deadline=120, **DECODING)
    assert "was being decoded when its worker was held up" in said
    assert totals(raw).get("acknowledged", 0) == 2 * len(neighbours)
    (letter,) = letters(raw)
    assert (letter.metadata["reason"], letter.metadata["attempt"]) == ("invalid", 1)
    assert "couldn't be decoded within the group's TIMEOUT of 1 s" in letter.metadata["error"]
    assert letter.fields == ["do", "ok", "decode", "hang"]
    assert not raw.exists(SUSPECTS)


@pytest.mark.slow
def test_a_number_that_takes_for_ever_to_read_is_found_too(raw: Raw, fleet: Fleet, declare: Any) -> None:
    """If Python may read numbers of any length, reading one holds the GIL."""
    declare(TIMEOUT=1)
    publish(raw, "ok")
    raw.xadd("orders", {"data": "7" * 20_000_000})
    publish(raw, "ok")
    fleet.drain(deadline=120, PYTHONINTMAXSTRDIGITS="0")
    assert totals(raw) == {"acknowledged": 2, "dead-lettered": 1}
    (letter,) = letters(raw)
    assert letter.metadata["reason"] == "invalid"


@pytest.mark.usefixtures("declare")
def test_what_ends_its_worker_while_it_is_decoded_is_dead_lettered_alone(raw: Raw, fleet: Fleet) -> None:
    """It counts like a crash in a handler, so that it isn't read again and again."""
    publish(raw, "ok")
    raw.xadd("orders", {"do": "ok", "decode": "die"})
    publish(raw, "ok")
    fleet.drain(deadline=120, **DECODING)
    assert totals(raw) == {"acknowledged": 2, "dead-lettered": 1}
    (letter,) = letters(raw)
    assert letter.metadata["reason"] == "crashed the worker"
    assert "SIGKILL" in letter.metadata["error"]
    assert letter.fields == ["do", "ok", "decode", "die"]
    assert not raw.exists(SUSPECTS)


def test_a_consumer_that_hangs_between_two_messages_is_replaced(raw: Raw, fleet: Fleet, declare: Any) -> None:
    """It hangs in a receiver of a signal: its process ends, no message is blamed, and other messages are run."""
    declare(TIMEOUT=1)
    raw.xadd("orders", {"do": "ok", "after": "hang"})
    worker = fleet.start("--shutdown-timeout", "1", **DECODING)
    wait_until(lambda: totals(raw) == {"acknowledged": 1})
    publish(raw, "ok")
    wait_until(lambda: totals(raw) == {"acknowledged": 2})
    worker.terminate()
    assert "makes no progress, though no handler runs. Another process replaces it" in fleet.finish(worker)
