"""`manage.py streams show`: one message, by any of its ids, in whichever state it is for each group."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_redis_streams import connections, follow, inspection, publish, publish_many
from django_redis_streams.conf import stream as stream_config
from django_redis_streams.inspection import story
from django_redis_streams.operations import dead_letters
from django_redis_streams.outcomes import Ack
from django_redis_streams.store.consume.promote import promote

from .support import states

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any


@pytest.fixture(autouse=True)
def two_groups(streams: Callable[..., None]) -> None:
    """A stream that billing and loyalty read."""
    streams({"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}, "tasks": {"LANES": ["high", "default"]}})


def shown(*arguments: str, code: int = 0) -> str:
    """What `manage.py streams show` says, and ends with."""
    out, ended = io.StringIO(), 0
    try:
        call_command("streams", "show", *arguments, stdout=out)
    except SystemExit as error:
        ended = int(str(error.code))
    assert ended == code
    return out.getvalue()


def told(identity: str, *arguments: str) -> Any:
    """The one message that is told as JSON."""
    (message,) = json.loads(shown(identity, "--json", *arguments))["messages"]
    return message


def groups(identity: str) -> dict[str, str]:
    """Where a message stands for each group."""
    return {each["group"]: each["state"] for each in told(identity)["groups"]}


def published(payload: Any = 1, **options: Any) -> tuple[str, str]:
    """The ids of a new message and of its entry."""
    message = publish("orders", payload, type="order.created", **options)
    return message.id, list(follow("orders", after="0", block=0))[-1].entry_id


# ---------------------------------------------------------------- where it stands


def test_a_message_is_found_by_its_own_id_and_by_its_entry() -> None:
    """Both tell the same."""
    identity, entry_id = published({"n": 1})
    states.deliver()
    first, second = told(identity), told(entry_id)
    assert {**first, "groups": 0} == {**second, "groups": 0}
    assert (first["message_id"], first["entry_id"], first["type"]) == (identity, entry_id, "order.created")
    assert (json.loads(first["payload"]), first["on_stream"]) == ({"n": 1}, True)


def test_a_foreign_message_is_found_by_the_id_that_it_was_given(raw: Raw) -> None:
    """Which names its stream."""
    entry_id = raw.xadd("orders", {"n": "1"})
    assert told(f"orders/{entry_id}")["entry_id"] == entry_id
    assert told(entry_id)["message_id"] == f"orders/{entry_id}"


def test_each_group_has_a_state_of_its_own() -> None:
    """Unread, pending with its consumer, acknowledged."""
    identity, entry_id = published()
    assert groups(identity) == {"billing": "no such group", "loyalty": "no such group"}
    states.acknowledge("orders", "loyalty")
    states.deliver(consumer="worker-1")
    assert groups(identity) == {"billing": "pending", "loyalty": "settled"}
    (billing, _) = told(entry_id)["groups"]
    assert (billing["consumer"], billing["deliveries"], billing["pending_id"]) == ("worker-1", 1, entry_id)
    later, _ = published(2)
    assert groups(later) == {"billing": "unread", "loyalty": "unread"}


def test_a_retry_is_told_with_its_error_and_when_it_is_due() -> None:
    """The other group isn't concerned."""
    identity, _ = published()
    states.acknowledge("orders", "loyalty")
    states.retry()
    assert groups(identity) == {"billing": "retrying", "loyalty": "settled"}
    (billing, _) = told(identity)["groups"]
    assert billing["error"] == "ZeroDivisionError: division by zero"
    assert billing["due"] > billing["last_failed"]


def test_a_retry_that_is_due_waits_to_be_read_and_then_is_pending() -> None:
    """In the group's own redelivery stream."""
    identity, entry_id = published()
    states.retry(delay=0)
    promote(connections.get(), stream_config("orders"), ["billing"], "tested")
    assert groups(identity)["billing"] == "redelivered"
    states.deliver(consumer="worker-2")
    (billing, _) = told(entry_id)["groups"]
    assert (billing["state"], billing["source"], billing["consumer"]) == ("pending", "redelivery", "worker-2")
    assert billing["attempts"] == 1


def test_a_dead_letter_is_told_and_found_by_its_own_id_too() -> None:
    """By three ids the same message."""
    identity, entry_id = published()
    states.acknowledge("orders", "loyalty")
    states.bury()
    (buried,) = inspection.dead_letters().rows
    for each in (identity, entry_id, buried.entry_id):
        message = told(each)
        assert (message["message_id"], message["entry_id"]) == (identity, entry_id)
        billing, loyalty = message["groups"]
        assert (billing["state"], billing["dead_letter"], billing["attempts"]) == ("dead letter", buried.entry_id, 1)
        assert loyalty["state"] == "settled"


def test_a_replayed_message_is_redelivered() -> None:
    """And no dead letter any more."""
    identity, _ = published()
    states.bury()
    (buried,) = inspection.dead_letters().rows
    dead_letters.replay("orders", [buried.entry_id], by="ann")
    assert groups(identity)["billing"] == "redelivered"


def test_what_is_trimmed_is_told_by_what_is_left_of_it(raw: Raw) -> None:
    """A dead letter knows where it was published."""
    identity, entry_id = published()
    states.acknowledge("orders", "loyalty")
    states.bury()
    raw.xtrim("orders", 0)
    for each in (identity, entry_id):
        message = told(each)
        assert (message["on_stream"], message["entry_id"], message["payload"]) == (False, entry_id, "")
        assert {one["group"]: one["state"] for one in message["groups"]} == {
            "billing": "dead letter",
            "loyalty": "settled",
        }


def test_what_is_pending_without_a_body_is_told(raw: Raw) -> None:
    """It can't be run any more."""
    _, entry_id = published()
    states.deliver()
    raw.xdel("orders", entry_id)
    (billing, _) = told(entry_id)["groups"]
    assert (billing["state"], billing["body_gone"]) == ("pending", True)


def test_a_group_that_begins_later_is_not_said_to_have_settled_it(raw: Raw) -> None:
    """It may never have got it."""
    identity, entry_id = published()
    raw.xgroup_create("orders", "billing", entry_id)
    raw.hset("{orders}:groups", "billing", entry_id)
    assert groups(identity)["billing"] == "before the group's start"


def test_a_delayed_message_is_told_with_when_it_comes() -> None:
    """It has no entry yet, and no group has it."""
    message = publish("orders", 1, delay=3600)
    found = told(message.id)
    assert (found["found"], found["on_stream"], found["entry_id"]) == (True, False, "")
    assert found["delayed_until"] > message.time.isoformat()
    assert "Delayed: onto the stream at" in shown(message.id)


def test_a_message_of_a_lane_is_found_there() -> None:
    """Whichever it is."""
    message = publish("tasks", 1, lane="high")
    assert told(message.id)["lane"] == "high"
    assert "in lane high" in shown(message.id)


def test_nothing_is_changed_by_looking(raw: Raw) -> None:
    """Neither a delivery count nor how long something is idle."""
    identity, _ = published()
    states.deliver()
    before = {key: raw.dump(key) for key in raw.scan_iter()}
    shown(identity)
    assert {key: raw.dump(key) for key in raw.scan_iter()} == before


# ---------------------------------------------------------------- for people


def test_people_get_lines() -> None:
    """The message, its payload, and a line for each group with the error below it."""
    identity, entry_id = published({"n": 1})
    states.acknowledge("orders", "loyalty")
    states.bury()
    (buried,) = inspection.dead_letters().rows
    assert shown(identity).splitlines() == [
        f"orders {entry_id}: message {identity} order.created",
        "  {",
        '    "n": 1',
        "  }",
        f"billing: dead letter {buried.entry_id}, {buried.reason}, attempts: 1, last of shop.stream_handlers.charge",
        "  ZeroDivisionError: division by zero",
        "loyalty: settled",
    ]


def test_what_would_deceive_a_terminal_is_written_out(raw: Raw) -> None:
    """In the type, as in the payload."""
    entry_id = raw.xadd("orders", {"type": "a\x1b[2J", "n": "\x9b"})
    said = shown(entry_id)
    assert "a\\x1b[2J" in said
    assert not {"\x1b", "\x9b"} & set(said)


# ---------------------------------------------------------------- what isn't found


@pytest.mark.parametrize(
    "identity", ["1700000000000-0", "018f3f3e-0000-7000-8000-000000000000", "orders/1700000000000-0"]
)
def test_what_is_not_there_ends_with_1(identity: str) -> None:
    """And says so."""
    published()
    assert shown(identity, code=1) == f"There is no {identity}.\n"


@pytest.mark.parametrize("identity", ["yesterday", "5", "ordrs/1-0", "", "1-99999999999999999999999"])
def test_what_can_not_be_an_id_ends_with_2(identity: str) -> None:
    """With what one looks like."""
    with pytest.raises(CommandError, match="expected the id of an entry or a dead letter") as error:
        shown(identity)
    assert error.value.returncode == 2


def test_a_stream_that_is_not_declared_ends_with_2() -> None:
    """With the nearest name."""
    with pytest.raises(CommandError, match="Did you mean 'orders'") as error:
        shown("1-0", "--stream", "ordrs")
    assert error.value.returncode == 2


def test_a_search_that_ended_early_says_how_far_it_came() -> None:
    """And how to go on."""
    publish_many("orders", range(50))
    wanted = list(follow("orders", after="0", block=0))[30].id
    assert "Searched 20 of 50 in orders; go on with --scan N." in shown(wanted, "--scan", "20", code=1)
    assert told(wanted, "--scan", "40")["found"]


def test_a_message_that_is_found_in_the_last_lane_is_known(streams: Any) -> None:
    """However much was searched in the others."""
    streams({"orders": {"LANES": ["default", "high"], "GROUPS": {"billing": {}}}})
    message = publish("orders", {}, lane="high")
    publish_many("orders", range(20))
    states.settle(states.deliver(), Ack())
    found = story("orders", message.id, most=10)
    assert (found.lane, found.looked, [each.state for each in found.groups]) == ("high", (), ["settled"])


def test_a_message_of_a_producer_whose_clock_is_fast_is_found(raw: Raw) -> None:
    """Its entry is older than it says itself to be."""
    now = raw.time()[0] * 1000
    digits = f"{now + 20_000:012x}"
    identity = f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"
    raw.xadd("orders", {"id": identity, "data": "1"})
    assert told(identity)["found"]


def test_an_id_without_a_time_is_looked_for_from_the_newest_on(raw: Raw) -> None:
    """Other producers may give any UUID."""
    for n in range(30):
        raw.xadd("orders", {"id": f"018f3f3e-0000-4000-8000-0000000000{n:02}", "data": "1"})
    assert told("018f3f3e-0000-4000-8000-000000000029", "--scan", "5")["found"]
    assert not story("orders", "018f3f3e-0000-4000-8000-000000000001", most=5).found


def test_where_not_all_was_searched_nothing_is_called_settled() -> None:
    """It may be among what wasn't looked at: here, in one of two entries that are redelivered."""
    for n in range(2):
        published(n)
    states.retry(delay=0)
    promote(connections.get(), stream_config("orders"), ["billing"], "tested")
    _, entry_id = published(2)
    states.settle([each for each in states.deliver() if each.entry_id == entry_id], Ack())
    for most, state in ((1, "unknown"), (10, "settled")):
        billing, _ = story("orders", entry_id, most=most).groups
        assert billing.state == state
