"""Groups: made when missing, kept apart, and made again when somebody took them away."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from django_redis_streams import conf, connections
from django_redis_streams.exceptions import ServerUnreachable
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.store.consume.connection import Client, begin_session
from django_redis_streams.store.consume.groups import began_after
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.worker.consumer import connection

from .support.books import books, letters, totals
from .support.waiting import wait_until
from .support.workers import Worker, drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams", "hasty")

Raw = Any
bill = handler("orders", group="billing")


@pytest.fixture
def seen() -> list[str]:
    """The numbers of the messages that billing has handled."""
    found: list[str] = []
    bill(lambda message: found.append(message.payload["n"]))
    return found


@pytest.fixture
def group(streams: Callable[..., None]) -> Callable[..., None]:
    """Gives the group other settings."""
    return lambda **settings: streams({"orders": {"MAXLEN": 1_000, "GROUPS": {"billing": settings}}})


def publish(raw: Raw, *numbers: int) -> None:
    """Publish messages with these numbers."""
    for n in numbers:
        raw.xadd("orders", {"n": n})


def test_of_two_groups_one_fails_and_the_other_sees_each_message_once(raw: Raw, streams: Any) -> None:
    """Neither retries nor dead letters of one group reach the other."""
    streams({"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 1, "BACKOFF": (0.01, 0.02)}, "loyalty": {}}}})
    runs: Counter[str] = Counter()

    @bill
    def fail(message: Message) -> None:
        raise RuntimeError("always")

    @handler("orders", group="loyalty")
    def count(message: Message) -> None:
        runs[message.payload["n"]] += 1

    publish(raw, *range(50))
    with working(group="billing"), working(group="loyalty"):
        wait_until(lambda: len(letters(raw)) == 50)
        wait_until(lambda: totals(raw, "loyalty") == {"acknowledged": 50})
    assert totals(raw, "billing") == {"retried": 50, "dead-lettered": 50}
    assert runs == {str(n): 1 for n in range(50)}
    assert {letter.metadata["group"] for letter in letters(raw)} == {"billing"}
    assert books(raw, "billing").all == books(raw, "loyalty").all == 50


def test_twenty_workers_may_start_at_once_on_a_missing_stream(
    raw: Raw, group: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """One of them makes the group, none complains, and nothing that is published meanwhile is skipped."""
    group(BATCH_SIZE=5)
    caplog.set_level(logging.WARNING)
    runs: Counter[str] = Counter()

    @bill
    def run(message: Message) -> None:
        runs[message.payload["n"]] += 1

    publisher = threading.Thread(target=publish, args=(raw, *range(500)))
    workers = [Worker(name=f"worker {n}") for n in range(20)]
    publisher.start()
    for each in workers:
        each.start()
    wait_until(lambda: totals(raw) == {"acknowledged": 500})
    publisher.join()
    for each in workers:
        each.end()
    assert runs == {str(n): 1 for n in range(500)}
    assert not caplog.records


# ---------------------------------------------------------------- where a group begins


def test_a_new_group_begins_at_the_beginning(raw: Raw, seen: list[str]) -> None:
    """Nothing that was published before the first worker is skipped."""
    publish(raw, 1, 2)
    drain()
    assert seen == ["1", "2"]
    assert raw.hgetall("{orders}:groups") == {"billing": "0"}


def test_a_new_group_may_begin_at_the_end(raw: Raw, seen: list[str], group: Callable[..., None]) -> None:
    """START "$" means the moment at which the first worker came, and that is recorded."""
    group(START="$")
    publish(raw, 1)
    last = raw.xinfo_stream("orders")["last-generated-id"]
    with working() as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        publish(raw, 2)
        wait_until(lambda: seen)
    assert seen == ["2"]
    assert raw.hgetall("{orders}:groups") == {"billing": last}


def test_a_new_group_may_begin_after_an_entry(raw: Raw, seen: list[str], group: Callable[..., None]) -> None:
    """START is the last entry that it doesn't want."""
    group(START="5-1")
    raw.xadd("orders", {"n": 1}, id="5-1")
    raw.xadd("orders", {"n": 2}, id="5-2")
    drain()
    assert seen == ["2"]
    assert raw.hgetall("{orders}:groups") == {"billing": "5-1"}


def test_a_group_that_is_found_is_left_where_it_is_and_recorded(raw: Raw, seen: list[str]) -> None:
    """Whoever has made it; made again it would deliver what is pending in it, too."""
    publish(raw, 1, 2, 3)
    raw.xgroup_create("orders", "billing", "0")
    ((_, ((entry, _),)),) = raw.xreadgroup("billing", "somebody", {"orders": ">"}, count=1)
    drain_with_pending(raw)
    assert seen == ["2", "3"]
    milliseconds, _, sequence = raw.hget("{orders}:groups", "billing").partition("-")
    assert (int(milliseconds), int(sequence)) < tuple(map(int, entry.split("-")))


def drain_with_pending(raw: Raw) -> None:
    """Work until nothing is unread: somebody else has one in hand."""
    with working():
        wait_until(lambda: totals(raw) == {"acknowledged": 2})


# ---------------------------------------------------------------- a group that is gone


def flush(raw: Raw) -> None:
    """Everything is gone."""
    raw.flushall()


def destroy(raw: Raw) -> None:
    """The group is gone, the stream and the record stay."""
    raw.xgroup_destroy("orders", "billing")


def delete(raw: Raw) -> None:
    """The stream is gone, with all its groups."""
    raw.delete("orders")


def delete_redelivery(raw: Raw) -> None:
    """What was to be redelivered is gone."""
    raw.delete("{orders}:redelivery:billing")


@pytest.mark.parametrize("start", ["0", "$"])
@pytest.mark.parametrize("remove", [flush, destroy, delete, delete_redelivery])
def test_a_group_that_is_taken_away_is_made_again(  # noqa: PLR0917  fixtures, by name
    raw: Raw, seen: list[str], group: Callable[..., None], caplog: pytest.LogCaptureFixture, remove: Any, start: str
) -> None:
    """Loudly, and what is published from then on is handled, wherever START says that a new group begins."""
    group(START=start)
    with working() as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        publish(raw, 1)
        wait_until(lambda: totals(raw) == {"acknowledged": 1})
        remove(raw)
        publish(raw, 2)
        wait_until(lambda: "2" in seen)
        wait_until(lambda: "was created again" in caplog.text)
    assert seen[0] == "1"
    assert seen[-1] == "2"


def test_a_new_group_beside_one_that_is_not_declared_any_more_is_told(
    raw: Raw, streams: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have been renamed, and would run the whole history again. A group beside declared ones is no such one."""
    for name in ("billing", "loyalty", "invoicing"):
        handler("orders", group=name)(lambda _: None)
    streams({"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}})
    publish(raw, 1)
    drain("orders", "billing")
    drain("orders", "loyalty")
    assert not caplog.records
    given = raw.xinfo_groups("orders")[0]["last-delivered-id"]
    streams({"orders": {"GROUPS": {"invoicing": {}, "loyalty": {}}}})
    with caplog.at_level(logging.WARNING):
        drain("orders", "invoicing")
    (told,) = [each.getMessage() for each in caplog.records if "any more" in each.getMessage()]
    assert told.startswith("orders:invoicing was created on the server, and begins after 0-0. ")
    assert f"don't declare 'billing', which is at {given} any more" in told
    caplog.clear()
    drain("orders", "invoicing")
    assert not caplog.records


@pytest.mark.parametrize("start", ["0", "$"])
def test_where_a_group_began_stays_on_record(raw: Raw, seen: list[str], group: Callable[..., None], start: str) -> None:
    """However much of it was read since: whoever made it may ask when another has begun to read."""
    publish(raw, 0)
    ((last, _),) = raw.xrange("orders")
    group(START=start)
    drain()
    publish(raw, 1)
    drain()
    member = Membership(conf.stream("orders"), conf.group("orders", "billing"), "tested")
    assert began_after(connections.get(), member) == ("0-0" if start == "0" else last)


def test_a_group_made_again_begins_where_it_once_began(raw: Raw, seen: list[str], group: Callable[..., None]) -> None:
    """What is still in the stream is delivered again, and nothing from before its START."""
    publish(raw, 0)
    group(START="$")
    publish(raw, 0)
    drain()
    publish(raw, 1, 2)
    drain()
    raw.xgroup_destroy("orders", "billing")
    drain()
    assert seen == ["1", "2", "1", "2"]


def test_maintenance_makes_a_group_again_no_later_than_its_consumer_would(
    raw: Raw, group: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """While the consumer is busy, the group is gone and published to: the message isn't before its START."""
    group(START="$")
    seen, finish = [], threading.Event()

    @bill
    def run(message: Message) -> None:
        seen.append(message.payload["n"])
        finish.wait(20)

    with working() as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        publish(raw, 1)
        wait_until(lambda: seen)
        raw.flushall()
        publish(raw, 2)
        wait_until(lambda: raw.hgetall("{orders}:groups"))
        wait_until(lambda: "was created again" in caplog.text, "what the server has done is told")
        finish.set()
        wait_until(lambda: "2" in seen)


def test_what_is_in_hand_when_the_group_goes_is_settled_somehow(raw: Raw) -> None:
    """A retry or dead letter of a message that a group made again delivers again isn't made twice."""
    seen, finish = [], threading.Event()

    @bill
    def run(message: Message) -> None:
        seen.append(message.attempt)
        finish.wait(20)
        message.reject("in any case")

    with working():
        publish(raw, 1)
        wait_until(lambda: seen)
        raw.xgroup_destroy("orders", "billing")
        finish.set()
        wait_until(lambda: len(letters(raw)) == 1)
        wait_until(lambda: raw.xpending("orders", "billing")["pending"] == 0)
    assert len(letters(raw)) == 1
    assert seen == [1, 1]


def test_a_group_that_is_new_was_not_missing(
    raw: Raw, seen: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Maintenance makes it before the consumer does, which reads it before maintenance goes on."""
    place = Worker().runner.connection
    make_group = connection.make_group

    def make_and_fall_behind(*args: Any, **options: Any) -> Any:
        made = make_group(*args, **options)
        place.has_read = True
        return made

    monkeypatch.setattr(connection, "make_group", make_and_fall_behind)
    place.make_group(connections.get())
    assert [each["name"] for each in raw.xinfo_groups("orders")] == ["billing"]
    assert not caplog.records


def test_a_missing_declared_group_is_made_before_its_stream_is_trimmed(raw: Raw, streams: Any, seen: list[str]) -> None:
    """Also where this worker doesn't serve it: it needs all that it was never given."""
    streams({"orders": {"MAXLEN": 1, "EXACT_TRIM": True, "GROUPS": {"billing": {}, "loyalty": {}}}})
    publish(raw, *range(20))
    with working(group="billing"):
        wait_until(lambda: totals(raw) == {"acknowledged": 20})
        wait_until(lambda: raw.hget("{orders}:groups", "loyalty"))
        raw.xgroup_setid("orders", "loyalty", raw.xrevrange("orders", count=11)[-1][0])
        wait_until(lambda: raw.xlen("orders") == 10)


# ---------------------------------------------------------------- another's connection


def test_a_client_number_of_another_run_of_the_server_is_left_alone(raw: Raw) -> None:
    """After a restart of the server the old number is another client's."""
    other, own = connections.open(timeout=5), connections.open(timeout=5)
    begin_session(own, Client(int(other.call("CLIENT", "ID")), "another run", True))
    assert other.call("PING") == "PONG"
    begin_session(own, Client(int(other.call("CLIENT", "ID")), raw.info("server")["run_id"], True))
    with pytest.raises(ServerUnreachable):
        other.call("PING")
    own.close()
