"""What others do to a group is named in its books, by what there is a sign of; the rest is told with its number."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from django_redis_streams import conf, connections, diagnosis, inspection
from django_redis_streams.diagnosis import Code
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.operations import groups
from django_redis_streams.outcomes import Ack
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.worker.timing import Timing

from .support import states
from .support.waiting import wait_until
from .support.workers import working
from .test_books import books, by_others, counted, look, publish

pytestmark = [pytest.mark.usefixtures("isolated_handlers", "streams"), counted]

Raw = Any


@pytest.fixture
def used(raw: Raw) -> list[str]:
    """The ids of a stream of ten: four were handled, two are pending, four are unread, and a watch has looked."""
    ids = publish(raw, 10)
    states.settle(states.deliver(count=2), Ack())
    states.deliver(count=1, consumer="holds")
    assert (books().acknowledged, books().pending, books().unread) == (4, 2, 4)
    assert watched() == {}
    return ids


def watched() -> dict[str, int]:
    """What a worker's watch enters now."""
    return look(connections.get())


def make_again() -> None:
    """A worker makes the group."""
    make_group(connections.get(), Membership(conf.stream("orders"), conf.group("orders", "billing"), "tested"), "0")


def set_back(raw: Raw, ids: list[str]) -> None:
    """The four that were handled are unread again; so are the two that are pending, which don't come twice for that."""
    raw.xgroup_setid("orders", "billing", "0")


def destroy(raw: Raw, ids: list[str]) -> None:
    """The group is taken away, and made again by the next worker."""
    raw.xgroup_destroy("orders", "billing")
    make_again()


def delete_stream(raw: Raw, ids: list[str]) -> None:
    """The stream is begun anew, with four: what was unread and pending is lost."""
    raw.delete("orders")
    publish(raw, 4)
    make_again()


def delete_stream_for_many(raw: Raw, ids: list[str]) -> None:
    """The same; and the new one has more by now than the old one ever had."""
    raw.delete("orders")
    make_again()
    publish(raw, 20)


def delete_consumer(raw: Raw, ids: list[str]) -> None:
    """What it held is pending nowhere."""
    raw.xgroup_delconsumer("orders", "billing", "holds")


def trim(raw: Raw, ids: list[str]) -> None:
    """Three that are unread go."""
    raw.xtrim("orders", minid=ids[9], approximate=False)


def delete_unread(raw: Raw, ids: list[str]) -> None:
    """Two that are unread go, and the rest is read."""
    raw.xdel("orders", ids[7], ids[8])
    states.acknowledge()


def acknowledge_elsewhere(raw: Raw, ids: list[str]) -> None:
    """Two are acknowledged by hand."""
    raw.xack("orders", "billing", ids[4], ids[5])


def set_forth(raw: Raw, ids: list[str]) -> None:
    """Four are skipped by hand."""
    raw.xgroup_setid("orders", "billing", "$")


DOINGS: dict[Callable[[Raw, list[str]], None], dict[str, int]] = {
    set_back: {"moved_back": 4},
    destroy: {"made_again": 4},
    delete_stream: {"dropped": 6},
    delete_stream_for_many: {"dropped": 6},
    delete_consumer: {"lost_with_consumer": 2},
    trim: {"dropped": 3},
    delete_unread: {"dropped": 2},
    acknowledge_elsewhere: {"unexplained": 2},
    set_forth: {"unexplained": 4},
}


@pytest.mark.parametrize("doing", DOINGS, ids=lambda doing: doing.__name__)
def test_what_others_do_is_named(raw: Raw, used: list[str], doing: Callable[[Raw, list[str]], None]) -> None:
    """At once, by whoever looks; and by a watch it is entered for good, once."""
    doing(raw, used)
    assert by_others(books()) == DOINGS[doing]
    entered = watched()
    assert {name.replace("-", "_"): count for name, count in entered.items()} == DOINGS[doing]
    assert by_others(books()) == DOINGS[doing]
    assert watched() == {}
    publish(raw, 2)
    states.acknowledge()
    assert by_others(books()) == DOINGS[doing]
    assert books().missing == DOINGS[doing].get("unexplained", 0)


@pytest.mark.parametrize("doing", DOINGS, ids=lambda doing: doing.__name__)
def test_the_doctor_says_what_others_did(raw: Raw, used: list[str], doing: Callable[[Raw, list[str]], None]) -> None:
    """With the number, and what does such a thing."""
    doing(raw, used)
    (found,) = [each for each in diagnosis.diagnose() if each.code is Code.DONE_BY_OTHERS]
    ((name, count),) = DOINGS[doing].items()
    assert found.subject == "orders:billing"
    assert f"{count} {name.replace('_', '-')}" in found.evidence


def test_the_doctor_says_nothing_where_nobody_did_anything(raw: Raw, used: list[str]) -> None:
    """A reset and a deletion of our own are nobody else's."""
    groups.reset("orders", "billing", "0", by="ann")
    groups.delete("orders", "billing", by="ann", force=True)
    states.acknowledge()
    assert [each for each in diagnosis.diagnose() if each.code is Code.DONE_BY_OTHERS] == []


def test_a_stream_that_was_deleted_counts_with_the_one_that_follows(raw: Raw, used: list[str]) -> None:
    """Published is what both got."""
    delete_stream(raw, used)
    assert (books().published, books().unread) == (14, 4)
    watched()
    publish(raw, 1)
    assert (books().published, books().unread, books().missing) == (15, 5, 0)


def test_what_is_set_back_without_a_watch_is_named_too(raw: Raw) -> None:
    """No worker had looked before: only a position that went back gives a group more than it was published."""
    publish(raw, 100)
    states.acknowledge()
    raw.xgroup_setid("orders", "billing", "0")
    assert (by_others(books()), books().unread, books().missing) == ({"moved_back": 100}, 100, 0)


def test_books_are_not_known_while_a_group_is_gone(raw: Raw, used: list[str]) -> None:
    """The next worker makes it again; until then there is nothing to reckon with, and a watch enters nothing."""
    raw.xgroup_destroy("orders", "billing")
    assert (books().published, books().missing, by_others(books())) == (None, None, {})
    assert watched() == {}


def test_what_hard_maxlen_drops_is_dropped(raw: Raw, streams: Callable[..., None]) -> None:
    """Whoever publishes, and also where the group has read on by the time of the look."""
    streams({"orders": {"HARD_MAXLEN": 5, "EXACT_TRIM": True, "GROUPS": {"billing": {}}}})
    make_again()
    for n in range(20):
        raw.xadd("orders", {"n": n}, maxlen=5, approximate=False)
    states.acknowledge()
    assert (by_others(books()), books().acknowledged, books().missing) == ({"dropped": 15}, 5, 0)


def test_a_worker_watches_and_tells(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """A line of its log for each thing that others did, once."""
    seen: list[str] = []

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        seen.append(message.payload["n"])

    publish(raw, 10)
    with working(timing=Timing(watch=0.05, look_stale=0.05)):
        wait_until(lambda: raw.hget("{orders}:totals:billing", "acknowledged") == "10")
        raw.xgroup_setid("orders", "billing", "0")
        wait_until(lambda: raw.hget("{orders}:totals:billing", "moved-back") == "10")
        wait_until(lambda: len(seen) == 20)
        wait_until(lambda: raw.hget("{orders}:totals:billing", "acknowledged") == "20")
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(told) == 1
    assert "moved its position back" in told[0]
    assert books().missing == 0


def test_what_is_seen_of_an_unused_stream_is_nothing() -> None:
    """A stream that isn't there yet has books of zeros, and nothing was done to it."""
    for each in inspection.books("orders"):
        assert (each.published, by_others(each)) == (0, {})
    assert watched() == {}
