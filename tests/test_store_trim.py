"""Trimming: about or exactly as long or as old as it is told, and never past what a group still needs."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from django_redis_streams import conf, connections
from django_redis_streams.connections import Link
from django_redis_streams.store.consume.trim import trim

Raw = Any
Keep = Callable[..., int]

# Small nodes, so that a few entries are many of them.
NODE = 10
LARGE = 20_000


@pytest.fixture
def link(streams: Any, raw: Raw) -> Iterator[Link]:
    """A link of a worker's, to a server with small nodes."""
    before = raw.config_get("stream-node-max-entries")["stream-node-max-entries"]
    raw.config_set("stream-node-max-entries", NODE)
    opened = connections.open(timeout=5)
    yield opened
    opened.close()
    raw.config_set("stream-node-max-entries", before)


@pytest.fixture
def keep(link: Link) -> Keep:
    """Trims by these settings until nothing more is removed; how many entries that were."""

    def keep(**settings: Any) -> int:
        stream = replace(conf.stream("orders"), **settings)
        removed = 0
        while step := trim(link, stream):
            removed += step
        return removed

    return keep


def publish(raw: Raw, count: int, first: int = 1) -> None:
    """Entries with the ids 1-0, 2-0 and so on."""
    pipeline = raw.pipeline(transaction=False)
    for n in range(first, first + count):
        pipeline.xadd("orders", {"n": n}, id=f"{n}-0")
    pipeline.execute()


def test_about_maxlen_are_kept_of_what_was_settled(raw: Raw, keep: Keep) -> None:
    """At least as many, and less than one node more."""
    publish(raw, 500)
    raw.xgroup_create("orders", "billing", "$")
    keep(maxlen=100)
    assert 100 <= raw.xlen("orders") < 100 + NODE


@pytest.mark.parametrize("limit", [{"maxlen": 1_000}, {"max_age": 50.0}], ids=["maxlen", "max_age"])
def test_nodes_that_are_larger_than_the_excess_keep_at_most_a_hundred_entries(
    raw: Raw, keep: Keep, limit: dict[str, Any]
) -> None:
    """A server may be set to nodes of so many entries that whole nodes never go."""
    before = raw.config_get("stream-node-max-bytes")
    raw.config_set("stream-node-max-entries", LARGE)
    raw.config_set("stream-node-max-bytes", 0)
    try:
        now = int(time.time() * 1_000)
        pipeline = raw.pipeline(transaction=False)
        for n in range(5_000):
            pipeline.xadd("orders", {"n": n}, id=f"{now - (100_000 if n < 4_000 else 0)}-{n + 1}")
        pipeline.execute()
        raw.xgroup_create("orders", "billing", "$")
        keep(**limit)
        assert 1_000 <= raw.xlen("orders") <= 1_100
        assert raw.xinfo_stream("orders")["radix-tree-keys"] == 1
    finally:
        raw.config_set("stream-node-max-bytes", before["stream-node-max-bytes"])


def test_exactly_maxlen_are_kept_with_exact_trim(raw: Raw, keep: Keep) -> None:
    """Not one more."""
    publish(raw, 507)
    raw.xgroup_create("orders", "billing", "$")
    assert keep(maxlen=103, exact_trim=True) == 404
    assert raw.xlen("orders") == 103


@pytest.mark.parametrize("exact", [False, True])
def test_what_is_younger_than_max_age_is_kept(raw: Raw, keep: Keep, exact: bool) -> None:
    """Older entries go, at least whole nodes of them."""
    now = int(time.time() * 1_000)
    for n in range(100):
        raw.xadd("orders", {"n": n}, id=f"{now - 100_000 + n}-0")
    for n in range(25):
        raw.xadd("orders", {"n": n}, id=f"{now - 1_000 + n}-0")
    raw.xgroup_create("orders", "billing", "$")
    keep(max_age=50.0, exact_trim=exact)
    assert raw.xlen("orders") == 25 if exact else 25 <= raw.xlen("orders") < 25 + NODE


@pytest.mark.parametrize("exact", [False, True])
def test_what_was_never_read_is_kept(raw: Raw, keep: Keep, exact: bool) -> None:
    """By any group of the server, declared or not, whoever has made it."""
    publish(raw, 300)
    raw.xgroup_create("orders", "billing", "$")
    raw.xgroup_create("orders", "of another client", "120-0")
    keep(maxlen=1, exact_trim=exact)
    assert raw.xrange("orders", count=1)[0][0] == "121-0"


@pytest.mark.parametrize("exact", [False, True])
def test_what_is_pending_is_kept(raw: Raw, keep: Keep, exact: bool) -> None:
    """The oldest message that a worker has in hand holds back the rest."""
    publish(raw, 300)
    raw.xgroup_create("orders", "billing", "0")
    read = raw.xreadgroup("billing", "c", {"orders": ">"}, count=300)
    raw.xack("orders", "billing", *(entry_id for entry_id, _ in read[0][1] if entry_id != "170-0"))
    keep(maxlen=1, exact_trim=exact)
    assert raw.xrange("orders", count=1)[0][0] == ("170-0" if exact else "161-0")


def test_a_stream_without_a_group_is_left_alone(raw: Raw, keep: Keep) -> None:
    """Nobody can tell who is yet to come."""
    publish(raw, 300)
    assert keep(maxlen=1, exact_trim=True) == 0


def test_a_stream_that_is_not_there_stays_so(raw: Raw, keep: Keep) -> None:
    """There is nothing to trim, and no error."""
    assert keep(maxlen=1) == 0
    assert not raw.exists("orders")


def test_a_stream_below_its_length_is_left_alone(raw: Raw, keep: Keep) -> None:
    """LIMIT 0 would mean no limit at all."""
    publish(raw, 50)
    raw.xgroup_create("orders", "billing", "$")
    assert keep(maxlen=50, exact_trim=True) == 0
    assert keep(maxlen=5_000) == 0
    assert raw.xlen("orders") == 50


def test_one_step_is_bounded(raw: Raw, link: Link) -> None:
    """However much there is to remove, no step holds up the server."""
    raw.config_set("stream-node-max-entries", 100)
    publish(raw, 30_000)
    raw.xgroup_create("orders", "billing", "$")
    assert 9_000 < trim(link, replace(conf.stream("orders"), maxlen=1)) <= 10_000


@pytest.mark.parametrize(
    ("delivered", "unread"),
    [
        ("9007199254740993-5", "9007199254740993-6"),
        ("9007199254740992-0", "9007199254740993-0"),
        ("18446744073709551615-1", "18446744073709551615-2"),
        ("5-9007199254740993", "5-9007199254740994"),
        ("5-18446744073709551614", "5-18446744073709551615"),
    ],
)
def test_ids_beyond_what_numbers_hold_exactly_are_told_apart(raw: Raw, keep: Keep, delivered: str, unread: str) -> None:
    """Any client may give any id: the one that wasn't read stays."""
    raw.xadd("orders", {"n": 1}, id=delivered)
    raw.xadd("orders", {"n": 2}, id=unread)
    raw.xgroup_create("orders", "billing", delivered)
    keep(maxlen=0, exact_trim=True)
    assert unread in [entry_id for entry_id, _ in raw.xrange("orders")]


def test_of_two_ids_beyond_what_numbers_hold_exactly_the_lesser_is_found(raw: Raw, keep: Keep) -> None:
    """The group that is behind by one decides, though as numbers both are at the same place."""
    for entry_id in ("9007199254740992-5", "9007199254740992-6", "9007199254740993-0"):
        raw.xadd("orders", {"n": 1}, id=entry_id)
    # The server tells of groups in the order of their names.
    raw.xgroup_create("orders", "ahead", "9007199254740993-0")
    raw.xgroup_create("orders", "behind", "9007199254740992-5")
    keep(maxlen=0, exact_trim=True)
    assert "9007199254740992-6" in [entry_id for entry_id, _ in raw.xrange("orders")]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happened_before_nothing_that_is_needed_goes(raw: Raw, keep: Keep, seed: int) -> None:
    """Some groups, reads, acknowledgements and deletions at random: trimming leaves what any group needs, no more."""
    chance = random.Random(seed)
    exact = bool(seed % 2)
    last, groups = 0, []
    for _ in range(60):
        step = chance.choice(["publish", "publish", "read", "read", "acknowledge", "make", "delete", "trim"])
        if step == "publish":
            count = chance.randrange(1, 40)
            publish(raw, count, last + 1)
            last += count
        elif step == "make" and len(groups) < 4 and last:
            groups.append(f"group {len(groups)}")
            raw.xgroup_create("orders", groups[-1], chance.choice(["0", "$", f"{chance.randrange(last)}-0"]))
        elif step == "read" and groups:
            raw.xreadgroup(chance.choice(groups), "c", {"orders": ">"}, count=chance.randrange(1, 50))
        elif step == "acknowledge" and groups:
            group = chance.choice(groups)
            held = [each["message_id"] for each in raw.xpending_range("orders", group, "-", "+", 1_000)]
            if held:
                raw.xack("orders", group, *chance.sample(held, chance.randrange(1, len(held) + 1)))
        elif step == "delete" and last:
            raw.xdel("orders", f"{chance.randrange(1, last + 1)}-0")
        elif step == "trim":
            maxlen = chance.choice([0, 1, 17, 100])
            before, least = ids(raw), low_water(raw)
            keep(maxlen=maxlen, exact_trim=exact)
            assert_trimmed(before, ids(raw), least, maxlen, exact)


def ids(raw: Raw) -> list[int]:
    """The numbers of the entries that there are."""
    return [int(entry_id.partition("-")[0]) for entry_id, _ in raw.xrange("orders")]


def low_water(raw: Raw) -> int | None:
    """The first number that some group needs; None without a group."""
    needed = []
    for group in raw.xinfo_groups("orders") if raw.exists("orders") else []:
        pending = raw.xpending_range("orders", group["name"], "-", "+", 1)
        needed += [int(each["message_id"].partition("-")[0]) for each in pending]
        needed.append(int(group["last-delivered-id"].partition("-")[0]) + 1)
    return min(needed, default=None)


def assert_trimmed(before: list[int], after: list[int], least: int | None, maxlen: int, exact: bool) -> None:
    """Only the first are gone, none that is needed, and as many as can."""
    assert after == before[len(before) - len(after) :]
    if least is None:
        assert after == before
        return
    needed = sum(each >= least for each in before)
    should = max(needed, min(maxlen, len(before)))
    assert len(after) == should if exact else should <= len(after)
    if not exact:
        # A node loses entries by deletion and stays; so two of them may be what is over.
        assert len(after) < should + 2 * NODE
