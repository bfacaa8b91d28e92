"""Replaying, discarding and handing back by hand: done once, or refused with a reason, and nothing in between."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError

from django_redis_streams import conf, connections, inspection, publish
from django_redis_streams.exceptions import NotReplayable, ServerUnreachable, StreamsError, UnknownStream
from django_redis_streams.operations import dead_letters, waiting
from django_redis_streams.store.operate import dead_letters as store
from django_redis_streams.store.scripts import script
from django_redis_streams.wire import RedeliveryMetadata, attach_metadata, split_metadata

from .support import states
from .support.proxies import Proxy
from .support.servers import Server

Raw = Any
DLQ, REDELIVERY = "{orders}:dlq", "{orders}:redelivery:billing"
RETRY, ENTRIES, TOTALS = "{orders}:retry:billing", "{orders}:retry:billing:entries", "{orders}:totals:billing"
DELAYED, DELAYED_ENTRIES = "{orders}:delayed", "{orders}:delayed:entries"


@pytest.fixture(autouse=True)
def _empty(streams: Callable[..., None]) -> None:
    """Begin with an empty server."""


def entries(key: str) -> list[tuple[str, list[str]]]:
    """The entries of a stream with their fields as they are, duplicates too."""
    return [(entry_id, fields) for entry_id, fields in connections.get().call("XRANGE", key, "-", "+")]


def totals(raw: Raw, group: str = "billing") -> dict[str, int]:
    """What is counted for a group; nothing for zero."""
    return {name: int(value) for name, value in raw.hgetall(f"{{orders}}:totals:{group}").items() if int(value)}


def buried(raw: Raw, count: int = 1) -> list[str]:
    """The ids of new dead letters."""
    states.publish(raw, *({"n": str(number)} for number in range(count)))
    states.bury()
    return [entry_id for entry_id, _ in entries(DLQ)]


def by_hand(raw: Raw, group: str = "billing", key: str = DLQ) -> str:
    """The id of a dead letter that says it is of a group."""
    metadata = RedeliveryMetadata(id="m-1", source="orders", entry="5-0", group=group)
    return raw.xadd(key, dict(zip(*[iter(attach_metadata(metadata, ["a", "1"]))] * 2, strict=True)))


def test_a_replayed_message_goes_to_its_own_group_alone(raw: Raw) -> None:
    """It is in the redelivery stream of the group it failed in, its attempts at zero, told who replayed it."""
    (entry_id,) = buried(raw)
    answers = dead_letters.replay("orders", [entry_id], by="ann")
    assert (answers.done, answers.refused, answers.unanswered) == ((entry_id,), {}, ())
    assert not raw.xlen(DLQ)
    ((_, fields),) = entries(REDELIVERY)
    carried, original = split_metadata(fields)
    assert (carried.attempt, carried.replays, carried.replayed_by, carried.reason) == (0, 1, "ann", "")
    assert (carried.error, carried.handler) == (states.FAILURE.error, states.FAILURE.handler)
    assert original == ["n", "0"]
    assert totals(raw) == {"dead-lettered": 1, "replayed": 1}
    assert [each.attempt for each in states.deliver()] == [1]
    assert [raw.exists(f"{{orders}}:redelivery:{other}") for other in ("loyalty", "analytics")] == [0, 0]


def test_a_replay_keeps_the_fields_as_they_were(raw: Raw) -> None:
    """Order, duplicates and bytes that aren't UTF-8 come back unharmed."""
    fields = ["b", "1", "a", "2", "b", "3", "\udcff\x00", "ü"]
    link = connections.get()
    link.call("XADD", "orders", "*", *fields)
    states.bury()
    dead_letters.replay("orders", [entries(DLQ)[0][0]], by="ann")
    assert split_metadata(entries(REDELIVERY)[0][1])[1] == fields


def test_a_message_with_very_many_fields_is_replayed(raw: Raw) -> None:
    """What doesn't fit into one command of a script travels folded."""
    raw.xadd("orders", {f"name-{number}": str(number) for number in range(9_000)})
    states.bury()
    dead_letters.replay("orders", [entries(DLQ)[0][0]], by="ann")
    assert len(states.deliver()[0].fields) == 18_000


def test_a_second_replay_is_counted_on(raw: Raw) -> None:
    """What fails again after a replay is a dead letter again, and remembers."""
    dead_letters.replay("orders", buried(raw), by="ann")
    states.bury()
    dead_letters.replay("orders", [entries(DLQ)[0][0]], by="bob")
    carried, _ = split_metadata(entries(REDELIVERY)[0][1])
    assert (carried.replays, carried.replayed_by) == (2, "bob")
    assert totals(raw) == {"dead-lettered": 2, "replayed": 2}
    assert [book.missing for book in inspection.books("orders") if book.group == "billing"] in ([0], [None])


def test_two_who_replay_at_once_make_one_copy(raw: Raw) -> None:
    """Whoever comes second is told that it is gone."""
    ids = buried(raw, 50)
    answers: list[Any] = []

    def press(name: str) -> None:
        answers.append(dead_letters.replay("orders", ids, by=name))

    threads = [threading.Thread(target=press, args=(name,)) for name in ("ann", "bob", "cid", "dee")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raw.xlen(REDELIVERY) == 50
    assert totals(raw)["replayed"] == 50
    assert sorted(each for answer in answers for each in answer.done) == sorted(ids)
    assert all(len(answer.done) + len(answer.refused) == 50 for answer in answers)


def test_a_replay_that_comes_second_copies_nothing(raw: Raw) -> None:
    """Though both have seen the dead letter before either moved it."""
    (entry_id,) = buried(raw)
    ((_, fields),) = entries(DLQ)
    letter = (entry_id, "billing", "default", fields[1], ())
    replies = [store.replay(connections.get(), conf.stream("orders"), [letter]) for _ in range(2)]
    assert replies == [[entries(REDELIVERY)[0][0]], [None]]
    assert raw.xlen(REDELIVERY) == totals(raw)["replayed"] == 1


def test_a_replay_and_a_discard_at_once_do_one_of_both(raw: Raw) -> None:
    """A message that is discarded isn't replayed, and one that is replayed isn't discarded."""
    ids = buried(raw)
    assert dead_letters.discard("orders", ids, by="ann").done == tuple(ids)
    assert not dead_letters.replay("orders", ids, by="ann").done
    assert not raw.xlen(REDELIVERY)
    assert totals(raw) == {"dead-lettered": 1, "discarded-dead-letters": 1}


def test_a_replay_makes_the_group_where_it_is_missing(raw: Raw) -> None:
    """A redelivery stream that was flushed or never was begins with what is replayed."""
    ids = buried(raw, 2)
    raw.delete(REDELIVERY)
    dead_letters.replay("orders", ids[:1], by="ann")
    raw.xgroup_destroy(REDELIVERY, "billing")
    dead_letters.replay("orders", ids[1:], by="ann")
    assert raw.xinfo_groups(REDELIVERY)[0]["name"] == "billing"
    assert len(states.deliver()) == 2


def test_a_replay_leaves_the_group_where_it_stands(raw: Raw) -> None:
    """What the group has read already isn't read again."""
    first, second = buried(raw, 2)
    dead_letters.replay("orders", [first], by="ann")
    states.acknowledge()
    dead_letters.replay("orders", [second], by="ann")
    assert [each.fields for each in states.deliver()] == [["n", "1"]]


@pytest.mark.parametrize("group", ["removed", "", "bil:ling", "{x}"])
def test_a_group_that_is_not_declared_gets_nothing_back(raw: Raw, group: str) -> None:
    """Nobody would run it: refused, and the dead letter stays."""
    entry_id = by_hand(raw, group)
    answers = dead_letters.replay("orders", [entry_id], by="ann")
    assert isinstance(answers.refused[entry_id], NotReplayable)
    assert repr(group) in str(answers.refused[entry_id])
    assert raw.xlen(DLQ) == 1
    assert raw.keys() == [DLQ]


def test_an_entry_that_is_not_ours_is_not_replayed(raw: Raw) -> None:
    """It can be discarded, and counts for no group."""
    entry_id = raw.xadd(DLQ, {"some": "entry"})
    answers = dead_letters.replay("orders", [entry_id], by="ann")
    assert isinstance(answers.refused[entry_id], NotReplayable)
    assert dead_letters.discard("orders", [entry_id], by="ann").done == (entry_id,)
    assert raw.keys() in ([], [DLQ])


@pytest.mark.parametrize(
    "verb",
    [
        lambda ids: dead_letters.replay("orders", ids, by="ann"),
        lambda ids: dead_letters.discard("orders", ids, by="ann"),
    ],
)
def test_one_that_is_refused_holds_up_no_other(raw: Raw, verb: Callable[[list[str]], Any]) -> None:
    """Ids that aren't there, or no ids at all, are refused with a reason; the rest is done."""
    ids = buried(raw, 230)
    nonsense = ["1-1", "", "-", "+", "*", "1", "99999999999999999999-0", "\0", "1-0 "]
    answers = verb([*nonsense, *ids, *ids])
    assert answers.done == tuple(ids)
    assert set(answers.refused) == set(nonsense)
    assert all("isn't there any more" in str(why) for why in answers.refused.values())
    assert not raw.xlen(DLQ)


def test_a_discarded_dead_letter_is_counted_once(raw: Raw) -> None:
    """However often it is asked for."""
    ids = buried(raw, 2)
    for _ in range(2):
        dead_letters.discard("orders", ids, by="ann")
    assert totals(raw) == {"dead-lettered": 2, "discarded-dead-letters": 2}
    assert [book.missing for book in inspection.books("orders") if book.group == "billing"] in ([0], [None])


def test_a_dead_letter_of_a_removed_group_is_counted_for_it(raw: Raw) -> None:
    """A name that can't be a group's counts for nobody, and makes no key in another slot."""
    dead_letters.discard("orders", [by_hand(raw, "removed"), by_hand(raw, "{x}"), by_hand(raw, "a:b")], by="ann")
    assert totals(raw, "removed") == {"discarded-dead-letters": 1}
    assert set(raw.keys()) <= {DLQ, "{orders}:totals:removed"}


def test_a_discarded_retry_is_gone_and_counted_once(raw: Raw) -> None:
    """It isn't promoted, and its row is deleted with it."""
    states.publish(raw, {"a": "1"}, {"a": "2"})
    states.retry()
    first, second = raw.zrange(RETRY, 0, -1)
    for _ in range(2):
        answers = waiting.discard_retries("orders", "billing", [first, "nobody's"], by="ann")
    assert set(answers.refused) == {first, "nobody's"}
    assert raw.zrange(RETRY, 0, -1) == raw.hkeys(ENTRIES) == [second]
    assert totals(raw) == {"retried": 2, "discarded": 1}
    assert [book.missing for book in inspection.books("orders") if book.group == "billing"] in ([0], [None])


def test_a_retry_of_a_removed_group_can_be_discarded(raw: Raw) -> None:
    """Nothing is deleted for it unasked; asked, it is. A name that can't be a group's is an error."""
    raw.zadd("{orders}:retry:removed", {"orders/1-0": 5})
    assert waiting.discard_retries("orders", "removed", ["orders/1-0"], by="ann").done == ("orders/1-0",)
    with pytest.raises(UnknownStream, match="'billing:entries'"):
        waiting.discard_retries("orders", "billing:entries", ["a"], by="ann")


def held(raw: Raw, *, idle: int, consumer: str = "box-1") -> tuple[str, str, str]:
    """A pending entry whose consumer has been silent for `idle` seconds."""
    (entry_id,) = states.publish(raw, {"a": "1"})
    states.deliver(consumer=consumer)
    raw.xclaim("orders", "billing", consumer, 0, [entry_id], idle=idle * 1000, retrycount=7, justid=True)
    return "main", entry_id, consumer


def test_a_stale_message_is_released(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """Any worker may claim it at once, its next delivery counts as the first, and who did it is logged."""
    caplog.set_level("INFO", "django_redis_streams")
    entry = held(raw, idle=61)
    assert waiting.release("orders", "billing", [entry], by="ann").done == (entry,)
    (row,) = raw.xpending_range("orders", "billing", "-", "+", 9)
    assert (row["consumer"], row["times_delivered"]) == ("returned", 0)
    assert row["time_since_delivered"] >= 60_000
    text = f"Pending message {entry[1]} in main of orders:billing, held by 'box-1', was released by 'ann'."
    assert text in caplog.messages


def test_a_message_whose_consumer_was_heard_of_is_left_to_it(raw: Raw) -> None:
    """Below CLAIM_IDLE, or claimed by another since it was looked at, it isn't touched."""
    fresh, taken = held(raw, idle=59), held(raw, idle=61, consumer="box-2")
    raw.xclaim("orders", "billing", "box-3", 0, [taken[1]], idle=61_000, justid=True)
    answers = waiting.release("orders", "billing", [fresh, taken], by="ann")
    assert set(answers.refused) == {fresh, taken}
    assert [row["consumer"] for row in raw.xpending_range("orders", "billing", "-", "+", 9)] == ["box-1", "box-3"]


def test_what_was_released_is_not_released_again(raw: Raw) -> None:
    """It says that a free worker takes it."""
    entry = held(raw, idle=61, consumer="returned")
    assert "released before" in str(waiting.release("orders", "billing", [entry], by="ann").refused[entry])


def test_a_pending_entry_without_a_body_is_settled_by_release(raw: Raw) -> None:
    """Nobody can run it: it is acknowledged, and counted as vanished, once."""
    entry = held(raw, idle=61)
    raw.xdel("orders", entry[1])
    for _ in range(2):
        waiting.release("orders", "billing", [entry], by="ann")
    assert raw.xpending("orders", "billing")["pending"] == 0
    assert totals(raw) == {"vanished": 1}


def test_release_takes_declared_groups_and_ids_only(raw: Raw) -> None:
    """How long its consumer may be silent is known of a declared group alone."""
    with pytest.raises(UnknownStream, match="'elsewhere'"):
        waiting.release("orders", "elsewhere", [], by="ann")
    assert "isn't an entry's id" in str(
        waiting.release("orders", "billing", [("main", "-", "a")], by="ann").refused.popitem()
    )


STEPS = {
    "replay": (("xack", "xdel", "xrange", "hincrby", "xadd"), (DLQ, REDELIVERY, TOTALS)),
    "discard": (("xack", "xdel", "xrange", "hincrby"), (DLQ, TOTALS)),
    "discard_retry": (("xack", "zrem", "hdel", "zscore", "hincrby"), ("orders", RETRY, ENTRIES, TOTALS)),
    "publish_delayed": (("xack", "zrem", "hdel", "zscore", "hget", "xadd"), ("orders", DELAYED, DELAYED_ENTRIES)),
    "discard_delayed": (("xack", "zrem", "hdel", "zscore"), ("orders", DELAYED, DELAYED_ENTRIES)),
    "release": (("xack", "xpending", "xrange", "xclaim"), ()),
}


def prepared(raw: Raw) -> dict[str, Callable[[], Any]]:
    """Each verb on a message that is ready for it."""
    letters = buried(raw, 2)
    states.publish(raw, {"a": "3"})
    states.retry()
    (token,) = raw.zrange(RETRY, 0, -1)
    entry, later = held(raw, idle=61), publish("orders", 1, delay=60)
    return {
        "replay": lambda: dead_letters.replay("orders", letters[:1], by="ann"),
        "discard": lambda: dead_letters.discard("orders", letters[1:], by="ann"),
        "discard_retry": lambda: waiting.discard_retries("orders", "billing", [token], by="ann"),
        "publish_delayed": lambda: waiting.publish_delayed("orders", [later.id], by="ann"),
        "discard_delayed": lambda: waiting.discard_delayed("orders", [later.id], by="ann"),
        "release": lambda: waiting.release("orders", "billing", [entry], by="ann"),
    }


def kept(raw: Raw) -> Any:
    """All that is on the server, but for counts of nothing."""
    return {key: raw.dump(key) for key in raw.scan_iter() if key != TOTALS}, raw.type(TOTALS) == "hash" and totals(raw)


@pytest.mark.parametrize(
    ("verb", "command"), [(verb, command) for verb, (commands, _) in STEPS.items() for command in commands]
)
def test_a_step_that_an_acl_refuses_changes_nothing(
    server: Server, raw: Raw, streams: Any, verb: str, command: str
) -> None:
    """Whatever command of a script isn't allowed: nothing is lost, nothing copied; once it is allowed, it is done."""
    act, before = prepared(raw)[verb], kept(raw)
    streams(URL=server.user("half", "s3cret", "+@all", "~*", f"-{command}"))
    told = attempt(act)
    assert told
    assert "s3cret" not in told
    assert kept(raw) == before
    streams()
    assert len(act().done) == 1


@pytest.mark.parametrize(("verb", "key"), [(verb, key) for verb, (_, keys) in STEPS.items() for key in keys])
def test_a_key_of_a_wrong_type_changes_nothing(raw: Raw, verb: str, key: str) -> None:
    """Whichever key of a script holds something else: nothing is lost, nothing copied; once mended, it is done."""
    act = prepared(raw)[verb]
    aside = raw.exists(key) and raw.rename(key, "aside")
    raw.set(key, "text")
    before = kept(raw)
    assert attempt(act)
    assert kept(raw) == before
    raw.delete(key)
    if aside:
        raw.rename("aside", key)
    assert len(act().done) == 1


def attempt(act: Callable[[], Any]) -> str:
    """Why nothing was done."""
    try:
        answers = act()
    except ResponseError as error:
        return str(error)
    assert not answers.done
    return " ".join(map(str, answers.refused.values()))


@pytest.mark.parametrize("verb", STEPS)
def test_a_full_memory_keeps_nobody_from_tidying_up(raw: Raw, verb: str) -> None:
    """At maxmemory, with nothing to be evicted, all of it works: it is what frees memory."""
    act = prepared(raw)[verb]
    raw.config_set("maxmemory", "1")
    try:
        with pytest.raises(OutOfMemoryError):
            raw.set("one", "more")
        assert len(act().done) == 1
    finally:
        raw.config_set("maxmemory", "0")


def test_a_reply_that_is_lost_is_told_and_may_be_asked_for_again(raw: Raw, streams: Any, proxy: Proxy) -> None:
    """What was sent and not answered is neither done nor refused. Nothing is done twice, nothing lost."""
    ids = buried(raw, 250)
    dead_letters.replay("orders", ids[:1], by="ann")
    streams(URL=proxy.url)
    proxy.lose_reply_to(script("replay").digest)
    first = dead_letters.replay("orders", ids[1:], by="ann")
    assert (first.done, first.unanswered) == ((), tuple(ids[1:101]))
    assert set(first.refused) == set(ids[101:])
    assert all(isinstance(why, ServerUnreachable) for why in first.refused.values())
    second = dead_letters.replay("orders", ids, by="ann")
    assert set(ids[101:]) <= set(second.done)
    assert raw.xlen(REDELIVERY) == totals(raw)["replayed"] == 250
    assert not raw.xlen(DLQ)


def test_a_server_that_is_down_refuses_all(raw: Raw, streams: Any) -> None:
    """Each id is refused with what is wrong with the server."""
    streams(URL="unix:///nowhere/at.all")
    answers = dead_letters.discard("orders", ["1-0", "2-0"], by="ann")
    assert set(answers.refused) == {"1-0", "2-0"}
    assert all(isinstance(why, StreamsError) and "/nowhere" in str(why) for why in answers.refused.values())


def test_an_undeclared_stream_is_an_error() -> None:
    """Its name is told."""
    for verb in (lambda: dead_letters.discard("x", [], by="ann"), lambda: dead_letters.replay("x", [], by="ann")):
        with pytest.raises(UnknownStream, match="'x'"):
            verb()
