"""A server refuses something: the worker goes on with the rest, and with that too once it is allowed again."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from django_redis_streams.exceptions import Reject
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.worker.log.recurring import refusals as refusals_log
from django_redis_streams.worker.timing import DEFAULT_TIMING

from ..support.books import books, letters, totals
from ..support.servers import Server
from ..support.waiting import wait_until
from ..support.workers import Fleet, working
from . import row

pytestmark = pytest.mark.usefixtures("isolated_handlers", "hasty")

Raw = Any
SETTINGS = {"orders": {"MAXLEN": 5, "GROUPS": {"billing": {"BACKOFF": (0.01, 0.02), "CLAIM_IDLE": 5}}}}
# Published while something is refused.
PUBLISHED = ["ok"] * 20 + ["reject"] * 2 + ["fail once"] * 2
SETTLED = {"acknowledged": 22, "dead-lettered": 2, "retried": 2}


@pytest.fixture
def runs() -> Counter[str]:
    """Return the counts of each message's runs; declares a handler that obeys."""
    counted: Counter[str] = Counter()

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        counted[message.id] += 1
        if message.payload["do"] == "reject":
            raise Reject("told to")
        if message.payload["do"] == "fail once" and message.attempt == 1:
            raise RuntimeError("told to")

    return counted


@pytest.fixture
def limit(server: Server, streams: Callable[..., None]) -> Iterator[Callable[[str], None]]:
    """Return a function that changes what the worker may do: `limit("-xadd")`."""
    streams(SETTINGS, URL=server.user("worker", "secret", "+@all", "~*", "&*"))
    yield lambda rule: server.raw().execute_command("ACL", "SETUSER", "worker", rule)
    server.raw().execute_command("ACL", "DELUSER", "worker")


def publish(raw: Raw) -> list[str]:
    """Publish all; return their message ids."""
    return [f"orders/{raw.xadd('orders', {'do': do})}" for do in PUBLISHED]


def refusals(caplog: pytest.LogCaptureFixture) -> int:
    """Return how often the worker logged a refusal."""
    told = ("couldn't settle", "failed. The next try", "was refused by the server", "couldn't be moved")
    return sum(any(each in record.getMessage() for each in told) for record in caplog.records)


def assert_settled_once(raw: Raw, runs: Counter[str], ids: list[str]) -> None:
    """Assert that each message was run as often as it should, and is in exactly one place."""
    wait_until(lambda: totals(raw) == SETTLED, f"{SETTLED}")
    assert runs == {each: 2 if do == "fail once" else 1 for each, do in zip(ids, PUBLISHED, strict=True)}
    assert len(letters(raw)) == 2
    assert books(raw).all == len(ids)
    assert raw.xlen("{orders}:redelivery:billing") == raw.hlen("{orders}:retry:billing:entries") == 0


# Each refused command, and what is settled nevertheless.
REFUSED: dict[str, dict[str, int]] = {
    "xadd": {"acknowledged": 20, "retried": 2},
    "zadd": {"acknowledged": 20, "dead-lettered": 2},
    "hset": {"acknowledged": 20, "dead-lettered": 2},
    "zrem": {"acknowledged": 20, "dead-lettered": 2, "retried": 2},
    "xpending": {"acknowledged": 20},
    "xclaim": SETTLED,
    "xinfo": SETTLED,
    "xgroup": SETTLED,
    "xtrim": SETTLED,
    "client": SETTLED,
    "info": SETTLED,
    "xdel": {"acknowledged": 20, "dead-lettered": 2, "retried": 2},
    "xack": {},
    "hdel": {},
    "hincrby": {},
    "evalsha": {},
    "xreadgroup": {},
}


@pytest.mark.parametrize("command", row(REFUSED, often=("xadd", "zadd", "zrem", "xclaim", "xack", "evalsha")))
def test_a_worker_goes_on_while_a_command_is_refused(
    raw: Raw,
    limit: Callable[[str], None],
    runs: Counter[str],
    caplog: pytest.LogCaptureFixture,
    command: str,
) -> None:
    """Messages that don't need it are settled; the others wait, are copied once, run once, and reported."""
    caplog.set_level(logging.WARNING)
    meanwhile = REFUSED[command]
    with working() as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        limit(f"-{command}")
        if command == "xreadgroup":
            wait_until(lambda: "was refused by the server" in caplog.text, "the read that was under way has ended")
        ids = publish(raw)
        wait_until(lambda: totals(raw) == meanwhile, f"{meanwhile}")
        if meanwhile != SETTLED:
            wait_until(lambda: refusals(caplog) > 5)
        assert totals(raw) == meanwhile
        limit(f"+{command}")
        assert_settled_once(raw, runs, ids)


BREAK = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end
redis.call('LPUSH', KEYS[1], 'of a wrong type')
"""
MEND = """
redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[1]) end
"""
WRONG: dict[str, dict[str, int]] = {
    "{orders}:dlq": {"acknowledged": 22, "retried": 2},
    "{orders}:retry:billing": {"acknowledged": 20, "dead-lettered": 2},
    "{orders}:retry:billing:entries": {"acknowledged": 20, "dead-lettered": 2},
    "{orders}:promoter": {"acknowledged": 20, "dead-lettered": 2, "retried": 2},
    "{orders}:groups": SETTLED,
    "{orders}:totals:billing": {},
    "{orders}:redelivery:billing": {},
    "orders": {},
}


@pytest.mark.parametrize("key", row(WRONG, often=("{orders}:dlq", "{orders}:groups", "{orders}:redelivery:billing")))
def test_a_worker_goes_on_while_a_key_is_of_a_wrong_type(
    raw: Raw, streams: Any, runs: Counter[str], caplog: pytest.LogCaptureFixture, key: str
) -> None:
    """Messages that don't need it are settled; the others wait, are copied once, run once, and reported."""
    caplog.set_level(logging.WARNING)
    streams(SETTINGS)
    meanwhile = WRONG[key]
    with working() as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        raw.eval(BREAK, 2, key, "{orders}:aside")
        if "redelivery" in key:
            wait_until(lambda: "was refused by the server" in caplog.text, "the read that was under way has ended")
        ids = publish(raw) if key != "orders" else []
        counted = dict if "totals" in key else lambda: totals(raw)
        wait_until(lambda: counted() == meanwhile, f"{meanwhile}")
        wait_until(lambda: refusals(caplog) > 5)
        assert counted() == meanwhile
        raw.eval(MEND, 2, key, "{orders}:aside")
        assert_settled_once(raw, runs, ids or publish(raw))


def test_a_worker_does_all_its_work_at_full_memory(raw: Raw, streams: Any, runs: Counter[str]) -> None:
    """It starts, makes its group, acknowledges, retries, promotes and dead-letters, which frees memory."""
    streams(SETTINGS)
    ids = publish(raw)
    raw.config_set("maxmemory", "1")
    try:
        with working():
            assert_settled_once(raw, runs, ids)
    finally:
        raw.config_set("maxmemory", "0")


def test_a_worker_that_may_not_renew_comes_back_nevertheless(
    raw: Raw, limit: Callable[[str], None], runs: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Though it holds a message that can't be settled either, it connects again and handles the rest."""
    limit("-xadd")
    raw.xadd("orders", {"do": "reject"})
    with working():
        wait_until(lambda: refusals(caplog))
        limit("-xclaim")
        raw.client_kill_filter(_type="normal", skipme=True)
        wait_until(lambda: "can't be reached" in caplog.text)
        for _ in range(3):
            raw.xadd("orders", {"do": "ok"})
        wait_until(lambda: totals(raw) == {"acknowledged": 3})
        limit("+@all")
        wait_until(lambda: totals(raw) == {"acknowledged": 3, "dead-lettered": 1})
    assert set(runs.values()) == {1}


def test_what_was_refused_is_tried_ever_less_often(
    raw: Raw, limit: Callable[[str], None], runs: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Acknowledging others all the time doesn't make it retry the refused one at every turn."""
    limit("-xadd")
    raw.xadd("orders", {"do": "reject"})
    with working(timing=DEFAULT_TIMING):
        wait_until(lambda: refusals(caplog))
        for n in range(100):
            raw.xadd("orders", {"do": "ok"})
            wait_until(lambda n=n: totals(raw).get("acknowledged", 0) > n)
        assert refusals(caplog) < 12


def test_a_worker_that_cannot_settle_reads_no_more_than_it_can_hold(
    raw: Raw, limit: Callable[[str], None], runs: Counter[str]
) -> None:
    """What it doesn't read, another can; allowed again, it goes on."""
    limit("-hincrby")
    for _ in range(400):
        raw.xadd("orders", {"do": "ok"})
    with working(most_refused=50) as worker:
        wait_until(lambda: worker.runner.unsettled.overfull)
        assert raw.xpending("orders", "billing")["pending"] < 400
        limit("+hincrby")
        wait_until(lambda: totals(raw) == {"acknowledged": 400})
    assert set(runs.values()) == {1}


def test_what_a_worker_cannot_settle_at_its_stop_is_handed_back(
    raw: Raw, limit: Callable[[str], None], runs: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The message isn't lost: the next worker runs it again."""
    limit("-hincrby")
    raw.xadd("orders", {"do": "ok"})
    with working():
        wait_until(lambda: refusals(caplog))
    assert raw.xpending_range("orders", "billing", "-", "+", 1)[0]["consumer"] == "returned"
    limit("+hincrby")
    with working(name="next"):
        wait_until(lambda: totals(raw) == {"acknowledged": 1})


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    """Return the records of the log with this text."""
    return [each for each in caplog.records if text in each.getMessage()]


def handle_all(raw: Raw, count: int) -> Counter[str]:
    """Return the counts of each message's runs, of so many; most are read one by one, so each is settled alone."""
    counted: Counter[str] = Counter()

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        counted[message.id] += 1
        if len(counted) < count:
            raw.xadd("orders", {"do": "ok"})

    raw.xadd("orders", {"do": "ok"})
    return counted


def test_what_is_refused_with_each_message_is_logged_once_a_second(
    raw: Raw, limit: Callable[[str], None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line is of one cause, and counts the messages."""
    monkeypatch.setattr(refusals_log, "each", 1.0)
    limit("-hincrby")
    runs = handle_all(raw, 300)
    with working():
        wait_until(lambda: len(runs) == 300)
        wait_until(lambda: len(lines(caplog, "couldn't settle")) > 1)
        found = lines(caplog, "couldn't settle")
        limit("+hincrby")
        wait_until(lambda: totals(raw) == {"acknowledged": 300})
    assert [each.created for each in found] == sorted(each.created for each in found)
    assert all(later.created - each.created > 0.9 for each, later in pairwise(found))
    assert sum(each.args[1] for each in found) >= 100, "the lines count what they stand for"


@pytest.mark.parametrize("do", ["ok", "reject", "fail once"])
def test_a_flush_of_the_scripts_is_no_error(
    raw: Raw, streams: Any, runs: Counter[str], caplog: pytest.LogCaptureFixture, do: str
) -> None:
    """What was sent while the server knew no script is sent again at once, with its source."""
    streams(SETTINGS)
    with working() as worker:
        for n in range(1, 31):
            wait_until(lambda: not (worker.runner.unacked or len(worker.runner.unsettled)))
            raw.script_flush()
            raw.xadd("orders", {"do": do})
            wait_until(lambda n=n: sum(runs.values()) >= n)
        wait_until(lambda: books(raw).unread == books(raw).pending == books(raw).retrying == 0)
    assert set(runs.values()) == {2 if do == "fail once" else 1}
    assert lines(caplog, "couldn't") == lines(caplog, "failed. The next") == lines(caplog, "refused") == []


def test_a_refused_renewal_is_tried_again_long_before_the_next_is_due(
    raw: Raw, streams: Any, limit: Callable[[str], None], server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """One is due each third of CLAIM_IDLE, and a message must not miss three of them."""
    streams(
        {"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 30}}}},
        URL=server.user("worker", "secret", "+@all", "~*", "&*"),
    )
    began, finish = threading.Event(), threading.Event()

    @handler("orders", group="billing")
    def run(_: Message) -> None:
        began.set()
        finish.wait(60)

    with working() as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        limit("-xclaim")
        raw.xadd("orders", {"n": 1})
        assert began.wait(20)
        delivered = time.monotonic()
        try:
            # A second, so that a renewal can be told from the delivery.
            wait_until(lambda: refusals(caplog) and time.monotonic() - delivered > 1)
            limit("+xclaim")

            def renewed() -> bool:
                (pending,) = raw.xpending_range("orders", "billing", "-", "+", 1)
                return time.monotonic() - delivered - pending["time_since_delivered"] / 1000 > 0.5

            wait_until(renewed, deadline=7)
        finally:
            finish.set()
            limit("+xclaim")
        wait_until(lambda: totals(raw) == {"acknowledged": 1})


def test_a_refusal_beyond_claim_idle_makes_a_message_come_twice(
    server: Server, limit: Callable[[str], None], runs: Counter[str], streams: Any, tmp_path: Path
) -> None:
    """A worker that may neither settle nor renew can't keep what it has handled: another claims it, and runs it."""
    raw = server.raw()
    declared = {"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 1}}}}
    streams(declared, URL=server.user("worker", "secret", "+@all", "~*", "&*"))
    other = Fleet(tmp_path, server.url, declared)
    try:
        with working() as worker:
            wait_until(lambda: worker.runner.connection.has_read)
            limit("-evalsha")
            name = raw.xadd("orders", {"do": "ok"})
            wait_until(lambda: runs)
            other.start()
            wait_until(lambda: [message for _, message, *_ in other.noted("ended")] == [f"orders/{name}"])
            wait_until(lambda: totals(raw) == {"acknowledged": 1})
            limit("+evalsha")
            wait_until(lambda: not len(worker.runner.unsettled))
    finally:
        other.end()
    assert runs == {f"orders/{name}": 1}
    assert totals(raw) == {"acknowledged": 1}, "it is counted once"
