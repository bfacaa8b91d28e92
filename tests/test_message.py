"""A message: what it holds, that it can't be changed, and how it marks what shall become of it."""

import copy
import pickle
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import RFC_4122, UUID

import pytest

from django_redis_streams import Message, Reject, Retry
from django_redis_streams.message import asked_of, made_at, new_id, new_ids


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


WHOLE = {
    "id": "m", "stream": "orders", "type": "order.paid", "payload": {"lines": [1, 2]}, "key": "k",
    "headers": {"a": "b"}, "time": datetime(2024, 1, 1, tzinfo=UTC), "group": "billing", "lane": "high",
    "attempt": 3, "entry_id": "5-1",
}  # fmt: skip


def pickled(protocol: int) -> Callable[[Message], Message]:
    """There and back."""
    return lambda made: pickle.loads(pickle.dumps(made, protocol))  # noqa: S301  our own


COPIES: dict[str, Callable[[Message], Message]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {each}": pickled(each) for each in range(pickle.HIGHEST_PROTOCOL + 1)},
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("given", [WHOLE, {}])
def test_a_copy_is_equal_and_read_only(how: str, given: dict[str, Any]):
    """All that a message holds goes along, whether it came from the server or a producer made it."""
    made = message(**given)
    other = COPIES[how](made)
    assert other is not made
    assert (other, hash(other), repr(other)) == (made, hash(made), repr(made))
    assert all(getattr(other, name) == getattr(made, name) for name in WHOLE)
    with pytest.raises(AttributeError):
        other.id = "other"
    with pytest.raises(TypeError):
        other.headers["a"] = "c"


def test_a_shallow_copy_shares_the_payload_and_a_deep_one_has_its_own():
    """As Python's copy does it for everything else."""
    made = message(**WHOLE)
    assert copy.copy(made).payload is made.payload
    assert copy.deepcopy(made).payload["lines"] is not made.payload["lines"]


@pytest.mark.parametrize("name", WHOLE)
def test_messages_that_differ_in_anything_are_not_equal(name: str):
    """Each attribute counts, and nothing else than a message is equal to one."""
    made = message(**WHOLE)
    other = {"attempt": 4, "time": datetime(2025, 1, 1, tzinfo=UTC)}.get(
        name, {"x": 1} if name in ("payload", "headers") else "x"
    )
    assert made == message(**WHOLE)
    assert made != message(**{**WHOLE, name: other})
    assert made != "m"
    assert {made: 1}[message(**WHOLE)] == 1


def test_a_mark_stays_with_the_message_that_was_marked():
    """It is about a run, not about what was published: no copy has it, and it makes no difference."""
    made = message(**WHOLE)
    other = copy.copy(made)
    made.reject()
    assert made == other
    assert [asked_of(each) for each in (other, *(do(made) for do in COPIES.values()))] == [None] * (1 + len(COPIES))


def test_all_that_is_public_is_documented():
    """What a message has beside its attributes and two methods is nobody's to use."""
    assert {name for name in dir(message()) if not name.startswith("_")} == {*WHOLE, "retry", "reject"}


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
    assert isinstance(asked_of(made), Retry)
    assert (asked_of(made).delay, asked_of(made).count) == (60.0, False)


def test_message_can_be_rejected():
    """`reject` marks without raising; the last mark counts."""
    made = message()
    made.retry()
    made.reject("no such customer")
    assert isinstance(asked_of(made), Reject)
    assert asked_of(made).reason == "no such customer"


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
