"""A message: what it holds, that it can't be changed, and how it marks what shall become of it."""

import time
from datetime import UTC, datetime, timedelta, timezone
from uuid import RFC_4122, UUID

import pytest

from django_redis_streams import Message, Reject, Retry
from django_redis_streams.message import made_at, new_id, new_ids


def message(**given):
    """A message with whatever is asked for."""
    return Message(**{"id": "m", "stream": "orders", "payload": {"a": 1}, **given})


def test_id_is_a_uuid_of_version_7():
    """Version and variant are those of RFC 9562, for databases and people who look."""
    made = UUID(new_id())
    assert (made.version, made.variant) == (7, RFC_4122)


def test_ids_hold_the_time_in_milliseconds():
    """The first 48 bits are Unix time, so ids of different milliseconds sort by when they were made."""
    before, made, after = time.time_ns() // 1_000_000, UUID(new_id()).int >> 80, time.time_ns() // 1_000_000
    assert before <= made <= after


def test_no_two_ids_are_equal():
    """Many ids of one millisecond differ in their random bits."""
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_ids_made_one_after_the_other_are_like_those_made_singly():
    """Each is a UUIDv7 of its own, with the time at which it was asked for."""
    ids = new_ids()
    first = [UUID(next(ids)) for _ in range(1_000)]
    assert {(made.version, made.variant) for made in first} == {(7, RFC_4122)}
    assert len(set(first)) == 1_000
    before = time.time_ns() // 1_000_000
    assert before <= UUID(next(ids)).int >> 80 <= time.time_ns() // 1_000_000


def test_an_id_tells_when_it_was_made():
    """To the millisecond, in UTC."""
    assert made_at("0190163d-8694-7a9a-8f2b-3c7a5e1d9f00") == datetime(2024, 6, 14, 10, 14, 9, 300_000, UTC)


@pytest.mark.parametrize("name", ["payload", "id", "attempt", "headers", "time", "anything"])
def test_message_is_read_only(name):
    """Nothing of a message can be set or deleted, and it takes no further attributes."""
    made = message()
    with pytest.raises(AttributeError):
        setattr(made, name, 1)
    with pytest.raises(AttributeError):
        delattr(made, name)


def test_headers_are_read_only():
    """The headers are a view of a copy: neither side can change the other's."""
    given = {"trace": "1"}
    made = message(headers=given)
    given["trace"] = "2"
    assert made.headers == {"trace": "1"}
    with pytest.raises(TypeError):
        made.headers["trace"] = "3"


def test_defaults_are_those_of_a_producer():
    """A message without a group is one that was made, not one that was delivered."""
    made = message()
    assert (made.type, made.key, made.headers) == ("", None, {})
    assert (made.group, made.lane, made.attempt, made.entry_id) == ("", "default", 0, "")


def test_time_is_the_producers_own_if_given():
    """A time that came with the message is told as it is."""
    given = datetime(1997, 1, 1, tzinfo=UTC)
    assert message(time=given, entry_id="1700000000123-4").time == given


def test_time_is_else_that_of_the_entry():
    """An entry's id is the server's time in milliseconds."""
    assert message(entry_id="1700000000123-4").time == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)


def test_time_of_a_message_without_an_entry_is_when_it_was_made():
    """A producer's message has no entry yet."""
    assert abs(datetime.now(UTC) - message().time) < timedelta(seconds=10)


@pytest.mark.parametrize("entry_id", ["0-1", "18446744073709551615-0"])
def test_time_of_any_entry_id_can_be_told(entry_id):
    """Any client may give any id: one beyond the calendar is told as its end."""
    assert message(entry_id=entry_id).time.tzinfo is UTC


def test_repr_tells_id_type_and_stream():
    """What a log line shows of a message is what it can be found by, and nothing of its payload."""
    assert repr(message(type="order.paid")) == "<Message m order.paid of 'orders'>"
    assert repr(message()) == "<Message m (no type) of 'orders'>"


def test_message_can_ask_for_a_retry():
    """`retry` marks without raising, with the options of `Retry`."""
    made = message()
    made.retry(timedelta(minutes=1), count=False)
    assert isinstance(made.asked, Retry)
    assert (made.asked.delay, made.asked.count) == (60.0, False)


def test_message_can_be_rejected():
    """`reject` marks without raising; the last mark counts."""
    made = message()
    made.retry()
    made.reject("no such customer")
    assert isinstance(made.asked, Reject)
    assert made.asked.reason == "no such customer"


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan"), timedelta(seconds=-1)])
def test_impossible_delays_are_refused(delay):
    """A delay that isn't one is an error where it is given, by `Retry` and by `message.retry` alike."""
    with pytest.raises(ValueError, match="expected seconds, 0 or more, or a timedelta"):
        Retry(delay)
    with pytest.raises(ValueError, match="expected seconds"):
        message().retry(delay)


def test_time_keeps_what_zone_it_was_given():
    """An aware time of another zone is the same moment."""
    given = datetime(1997, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert message(time=given).time == datetime(1997, 1, 1, tzinfo=UTC)
