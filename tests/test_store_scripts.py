"""Each script of the worker, refused at each of its steps: all is done or nothing, and a later try does it all."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from typing import Any

import pytest
from redis.exceptions import ResponseError

from django_redis_streams import conf, connections, publish
from django_redis_streams.connections import Link
from django_redis_streams.outcomes import Ack, DeadLetter, Failure, Outcome, Reason, RetryLater
from django_redis_streams.store.consume.asking import ask
from django_redis_streams.store.consume.books import watch
from django_redis_streams.store.consume.clock import note_jump, reset_idle, server_time, shorten
from django_redis_streams.store.consume.consumers import retiring
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.store.consume.ownership import claim, hand_back, pending_of, renew
from django_redis_streams.store.consume.presence import ProcessRecord, absent_command, present_command
from django_redis_streams.store.consume.promote import Held, Promotion, let_go, promote
from django_redis_streams.store.consume.settle import settle_commands
from django_redis_streams.store.consume.suspects import suspect, take_back, try_suspect
from django_redis_streams.store.consume.trim import trim
from django_redis_streams.store.scripts import all_scripts, run, script

from .support.documents import ROOT, page
from .support.servers import Server
from .support.waiting import wait_until

Raw = Any
Act = Callable[[Link], Any]

MAIN = "orders"
REDELIVERY = "{orders}:redelivery:billing"
RETRY = "{orders}:retry:billing"
ENTRIES = "{orders}:retry:billing:entries"
TOTALS = "{orders}:totals:billing"
DLQ = "{orders}:dlq"
SUSPECTS = "{orders}:suspects:billing"
GROUPS = "{orders}:groups"
PROMOTER = "{orders}:promoter"
NOTICES = "{orders}:notices"
DELAYED = "{orders}:delayed"
CLOCK = "{orders}:clock"
RATE = "{orders}:limits:billing:rate"
SLOTS = "{orders}:limits:billing:slots"
WORKERS = "{orders}:workers:billing"
PROCESSES = "{orders}:processes"
ALIVE = "{orders}:alive:p"
BOOKS = "{orders}:books:billing"
UNLIMITED = ("", "", "", 1000)
STREAMS = {"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 0.001}}, "MAXLEN": 1, "EXACT_TRIM": True}}


@pytest.fixture(autouse=True)
def _streams(streams: Callable[..., None]) -> None:
    streams(STREAMS)


@pytest.fixture
def link() -> Iterator[Link]:
    """A link of a worker's."""
    opened = connections.open(timeout=5)
    yield opened
    opened.close()


@pytest.fixture
def limited(server: Server, raw: Raw) -> Iterator[Link]:
    """A link of the user `limited`, who may do everything, until told otherwise."""
    server.user("limited", "secret", "+@all", "~*")
    opened = connections.open(timeout=5)
    opened.call("AUTH", "limited", "secret")
    yield opened
    opened.close()
    raw.execute_command("ACL", "DELUSER", "limited")


# ---------------------------------------------------------------- what each script is asked to do


def member(consumer: str = "c") -> Membership:
    """A consumer of the group."""
    return Membership(conf.stream("orders"), conf.group("orders", "billing"), consumer)


def deliver(raw: Raw, link: Link, key: str = MAIN) -> Act:
    """An entry that is pending for the consumer `c`."""
    make_group(link, member(), "0")
    fields = {"n": "1"} if key == MAIN else {"drs": '{"id":"x","source":"orders","entry":"1-1","attempt":1}', "n": "1"}
    raw.xadd(key, fields, id="1-1")
    raw.xreadgroup("billing", "c", {key: ">"})
    return lambda _: None


def settle(key: str, outcome: Outcome) -> Callable[[Raw, Link], Act]:
    """Settle a pending entry in one way."""

    def prepare(raw: Raw, link: Link) -> Act:
        deliver(raw, link, key)
        (delivery,) = pending_of(link, member(), lambda _: False).deliveries
        delivery.outcome = outcome
        ((command, _),) = settle_commands(member(), [delivery])
        return lambda link: run(link, command)

    return prepare


def a_retry(raw: Raw, link: Link) -> Act:
    """Promote a due retry."""
    settle(MAIN, RetryLater(0, Failure()))(raw, link)(link)
    return _promote


def a_retry_without_a_row(raw: Raw, link: Link) -> Act:
    """Promote a token that stands for nothing."""
    a_retry(raw, link)
    raw.delete(ENTRIES)
    return _promote


def a_retry_that_cannot_be_moved(raw: Raw, link: Link) -> Act:
    """Promote an entry that isn't one."""
    a_retry(raw, link)
    (token,) = raw.zrange(RETRY, 0, -1)
    raw.hset(ENTRIES, token, "garbage")
    return _promote


def a_pending_entry_to_count_anew(raw: Raw, link: Link) -> Act:
    """Count from now for how long an entry has been idle."""
    deliver(raw, link)
    return lambda link: list(reset_idle(link, member().keys, MAIN, "billing", 1_000))


def a_retry_that_waits_for_too_long(raw: Raw, link: Link) -> Act:
    """Have a retry wait no longer than it was to."""
    settle(MAIN, RetryLater(0, Failure()))(raw, link)(link)
    (token,) = raw.zrange(RETRY, 0, -1)
    raw.zadd(RETRY, {token: server_time(link) + 3_600_000})
    return lambda link: list(shorten(link, member().keys, ["billing"]))


def a_clock_that_went_back(raw: Raw, link: Link) -> Act:
    """Keep that it did."""
    deliver(raw, link)
    return lambda link: note_jump(link, member().keys, -120_000, shortened_since=0)


def a_lease(raw: Raw, link: Link) -> Act:
    """Let go of it."""
    deliver(raw, link)
    raw.set(PROMOTER, "me 1", px=60_000)
    return lambda link: let_go(link, [member().stream], "me")


def _promote(link: Link) -> None:
    promotion = promote(link, member().stream, ["billing"], "me")
    assert isinstance(promotion, Promotion)
    if promotion.problems:
        raise ResponseError(*promotion.problems)


def a_pending_entry_to_renew(raw: Raw, link: Link) -> Act:
    """Renew what is in hand."""
    deliver(raw, link)
    return lambda link: renew(link, member(), MAIN, ["1-1"])


def a_pending_entry_to_hand_back(raw: Raw, link: Link) -> Act:
    """Hand back what is held."""
    deliver(raw, link)
    return lambda link: hand_back(link, member())


def an_entry_that_was_handed_back(raw: Raw, link: Link) -> Act:
    """Claim what was handed back."""
    deliver(raw, link)
    hand_back(link, member())
    return lambda link: claim(link, member("d"), 10, idle_until=0)


def a_pending_entry_without_a_body(raw: Raw, link: Link) -> Act:
    """Claim what can't be handled by anybody any more."""
    deliver(raw, link)
    raw.xdel(MAIN, "1-1")
    wait_until(lambda: raw.xpending_range(MAIN, "billing", "-", "+", 1, idle=1))
    return lambda link: claim(link, member("d"), 10, idle_until=inf)


def an_entry_of_a_dead_worker(raw: Raw, link: Link) -> Act:
    """Write down what a worker was running when it died."""
    deliver(raw, link)
    (delivery,) = pending_of(link, member(), lambda _: False).deliveries
    return lambda link: suspect(link, member(), delivery, "shop.charge", "was ended by SIGSEGV")


def a_suspect(raw: Raw, link: Link) -> Act:
    """Claim it for a run in quarantine."""
    an_entry_of_a_dead_worker(raw, link)(link)
    hand_back(link, member())
    return lambda link: try_suspect(link, member("d"), f"{MAIN}/1-1")


def a_suspect_without_a_body(raw: Raw, link: Link) -> Act:
    """Find that a suspect was deleted."""
    act = a_suspect(raw, link)
    raw.xdel(MAIN, "1-1")
    return act


def a_run_that_was_stopped(raw: Raw, link: Link) -> Act:
    """Take back a run in quarantine."""
    a_suspect(raw, link)(link)
    return lambda link: take_back(link, member("d"), f"{MAIN}/1-1")


def an_idle_suspect(raw: Raw, link: Link) -> Act:
    """Make a suspect of what was delivered twice and is idle, and hand it back."""
    deliver(raw, link)
    raw.xclaim(MAIN, "billing", "c", 0, ["1-1"])
    wait_until(lambda: raw.xpending_range(MAIN, "billing", "-", "+", 1, idle=1))
    return lambda link: claim(link, member("d"), 10, idle_until=inf)


def an_unread_entry(raw: Raw, link: Link) -> Act:
    """Read it by the script that reads lanes."""
    make_group(link, member(), "0")
    raw.xadd(MAIN, {"n": "1"}, id="1-1")
    return lambda link: run(link, script("read")([RATE, SLOTS, REDELIVERY, MAIN], "billing", "c", 10, 0, 0, *UNLIMITED))


def an_unread_entry_of_a_limited_group(raw: Raw, link: Link) -> Act:
    """Read it, and take what its limits give."""
    an_unread_entry(raw, link)
    limits = (1, 10, 10, 1000)
    return lambda link: run(link, script("read")([RATE, SLOTS, REDELIVERY, MAIN], "billing", "c", 10, 0, 0, *limits))


def a_pending_entry_of_a_limited_group(raw: Raw, link: Link) -> Act:
    """Renew what is in hand, and its lease."""
    deliver(raw, link)
    return lambda link: run(link, script("renew")([MAIN, SLOTS], "billing", "c", 1000, "1-1"))


def a_missing_group(raw: Raw, _: Link) -> Act:
    """Make a group at the end of its stream."""
    raw.xadd(MAIN, {"n": "1"}, id="1-1")
    return lambda link: make_group(link, member(), "$")


def a_long_stream(raw: Raw, link: Link) -> Act:
    """Trim what nobody needs."""
    make_group(link, member(), "0")
    for n in range(1, 4):
        raw.xadd(MAIN, {"n": "1"}, id=f"{n}-1")
    raw.xgroup_setid(MAIN, "billing", "3-1")
    return lambda link: trim(link, member().stream)


def a_silent_consumer(raw: Raw, link: Link) -> Act:
    """Remove the name of a consumer that is gone."""
    make_group(link, member(), "0")
    for key in (MAIN, REDELIVERY):
        raw.xgroup_createconsumer(key, "billing", "c")
    wait_until(lambda: all(each["idle"] for key in (MAIN, REDELIVERY) for each in raw.xinfo_consumers(key, "billing")))
    return lambda link: ask(link, retiring(member("d"), 1))


RECORD = ProcessRecord("host", 1, 0, 0, quarantine=False, lanes=["default"], groups={"billing": 1}, runs=[])
CONSUMERS = {"billing": ["c"]}


def a_group_that_is_served(raw: Raw, link: Link) -> Act:
    """Say that a worker serves a group."""
    make_group(link, member("d"), "0")
    ended = {"billing": ["d"]}
    return lambda link: run(
        link, present_command(member().stream, "p", server_time(link), RECORD, CONSUMERS, ended=ended)
    )


def a_worker_from_before_the_clock_went_back(raw: Raw, link: Link) -> Act:
    """Say that a worker serves a group, and forget another."""
    act = a_group_that_is_served(raw, link)
    later = server_time(link) + 3_600_000
    raw.set("{orders}:alive:q", "0 {}", px=3_600_000)
    raw.zadd(PROCESSES, {"q": later})
    raw.zadd(WORKERS, {"q-0": later})
    return act


def a_worker_that_leaves(raw: Raw, link: Link) -> Act:
    """Say that a worker has ended."""
    a_group_that_is_served(raw, link)(link)
    return lambda link: run(link, absent_command(member().stream, "p", CONSUMERS))


def a_group_that_others_set_back(raw: Raw, link: Link) -> Act:
    """Enter into the books what others did."""
    deliver(raw, link)
    raw.xack(MAIN, "billing", "1-1")
    return lambda link: watch(link, member().stream, ["billing"])


FAILURE = Failure(handler="shop.charge", error="RuntimeError: no")
CASES: dict[str, Callable[[Raw, Link], Act]] = {
    "ack": settle(MAIN, Ack()),
    "ack of ours": settle(REDELIVERY, Ack()),
    "retry": settle(MAIN, RetryLater(1, FAILURE)),
    "retry of ours": settle(REDELIVERY, RetryLater(1, FAILURE)),
    "dead_letter": settle(MAIN, DeadLetter(Reason.REJECTED, FAILURE)),
    "dead_letter of ours": settle(REDELIVERY, DeadLetter(Reason.REJECTED, FAILURE)),
    "promote": a_retry,
    "promote what vanished": a_retry_without_a_row,
    "promote what cannot be moved": a_retry_that_cannot_be_moved,
    "shorten": a_retry_that_waits_for_too_long,
    "reset_idle": a_pending_entry_to_count_anew,
    "note_jump": a_clock_that_went_back,
    "let_go": a_lease,
    "renew": a_pending_entry_to_renew,
    "hand_back": a_pending_entry_to_hand_back,
    "claim": an_entry_that_was_handed_back,
    "claim what vanished": a_pending_entry_without_a_body,
    "claim what is suspect": an_idle_suspect,
    "suspect": an_entry_of_a_dead_worker,
    "try_suspect": a_suspect,
    "try_suspect that vanished": a_suspect_without_a_body,
    "take_back": a_run_that_was_stopped,
    "make_group": a_missing_group,
    "read": an_unread_entry,
    "read by limits": an_unread_entry_of_a_limited_group,
    "renew by limits": a_pending_entry_of_a_limited_group,
    "trim": a_long_stream,
    "retire": a_silent_consumer,
    "present": a_group_that_is_served,
    "present beside one of before": a_worker_from_before_the_clock_went_back,
    "absent": a_worker_that_leaves,
    "watch": a_group_that_others_set_back,
}


# ---------------------------------------------------------------- what there is on the server


def state(raw: Raw) -> dict[str, Any]:
    """All that a script may change, without times and without ids that the server gives."""
    return {
        "streams": {key: [_told(fields) for _, fields in raw.xrange(key)] for key in (MAIN, REDELIVERY, DLQ)},
        "pending": {
            key: [(each["message_id"].endswith("-1"), each["consumer"], each["times_delivered"]) for each in pending]
            for key in (MAIN, REDELIVERY)
            if (pending := _pending(raw, key)) is not None
        },
        "consumers": {key: _names(raw, key) for key in (MAIN, REDELIVERY)},
        "retries": (raw.zrange(RETRY, 0, -1), raw.hkeys(ENTRIES)),
        "late": raw.zcount(RETRY, (raw.time()[0] + 60) * 1000, "+inf"),
        "jump": raw.hget(CLOCK, "jump"),
        "totals": {name: value for name, value in raw.hgetall(TOTALS).items() if value != "0"},
        "groups": raw.hgetall(GROUPS),
        "suspects": {name: json.loads(row) for name, row in raw.hgetall(SUSPECTS).items()},
        "slots": raw.zrange(SLOTS, 0, -1),
        "books": raw.hgetall(BOOKS),
        "workers": sorted(raw.zrange(WORKERS, 0, -1)),
        "processes": raw.zrange(PROCESSES, 0, -1),
        "alive": raw.keys("{orders}:alive:*"),
    }


def _told(fields: dict[str, str]) -> dict[str, Any]:
    if "drs" not in fields:
        return fields
    metadata = json.loads(fields["drs"])
    return {**fields, "drs": {name: value for name, value in metadata.items() if name not in {"first", "last"}}}


def _pending(raw: Raw, key: str) -> list[dict[str, Any]] | None:
    with suppress(ResponseError):
        return raw.xpending_range(key, "billing", "-", "+", 10)
    return None


def _names(raw: Raw, key: str) -> list[str]:
    with suppress(ResponseError):
        return sorted(each["name"] for each in raw.xinfo_consumers(key, "billing"))
    return []


def copies(raw: Raw) -> int:
    """In how many places the message waits or lies: pending, to be retried, redelivered, dead."""
    pending = raw.xpending(MAIN, "billing")["pending"] if raw.exists(MAIN) and raw.xinfo_groups(MAIN) else 0
    return pending + raw.zcard(RETRY) + raw.xlen(REDELIVERY) + raw.xlen(DLQ)


def undisturbed(raw: Raw, link: Link, case: str) -> dict[str, Any]:
    """What is so after the script was run once. It is found out once: nothing in it depends on a time or a test."""
    if case not in _UNDISTURBED:
        CASES[case](raw, link)(link)
        _UNDISTURBED[case] = state(raw)
        raw.flushall()
    return _UNDISTURBED[case]


_UNDISTURBED: dict[str, dict[str, Any]] = {}


def commands(case: str) -> list[str]:
    """The commands that a script gives."""
    return sorted(set(re.findall(r"redis\.p?call\('(\w+)'", script(case.partition(" ")[0]).source)))


# ---------------------------------------------------------------- the tests


@pytest.mark.parametrize(("case", "command"), [(case, command) for case in CASES for command in commands(case)])
def test_a_step_that_an_acl_refuses_changes_nothing(
    raw: Raw, link: Link, limited: Link, case: str, command: str
) -> None:
    """However often it is tried, nothing is lost and nothing copied twice; allowed again, it does all that it does."""
    wanted = undisturbed(raw, link, case)
    act = CASES[case](raw, link)
    before = copies(raw)
    raw.execute_command("ACL", "SETUSER", "limited", f"-{command}")
    for _ in range(3):
        with suppress(ResponseError):
            act(limited)
    assert copies(raw) == before <= 1 or state(raw) == wanted
    raw.execute_command("ACL", "SETUSER", "limited", f"+{command}")
    act(limited)
    assert state(raw) == wanted


@pytest.mark.parametrize(
    "key",
    [
        MAIN,
        REDELIVERY,
        RETRY,
        ENTRIES,
        TOTALS,
        DLQ,
        GROUPS,
        PROMOTER,
        NOTICES,
        CLOCK,
        RATE,
        SLOTS,
        SUSPECTS,
        WORKERS,
        BOOKS,
        PROCESSES,
        ALIVE,
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_a_key_of_a_wrong_type_changes_nothing(raw: Raw, link: Link, case: str, key: str) -> None:
    """However often it is tried, nothing is lost and nothing copied twice; mended, it does all that it does."""
    wanted = undisturbed(raw, link, case)
    act = CASES[case](raw, link)
    before = copies(raw)
    there = raw.exists(key)
    if there:
        raw.rename(key, "{orders}:aside")
    raw.lpush(key, "of a wrong type")
    for _ in range(3):
        with suppress(ResponseError):
            act(link)
    raw.delete(key)
    if there:
        raw.rename("{orders}:aside", key)
    assert copies(raw) == before <= 1 or state(raw) == wanted
    act(link)
    assert state(raw) == wanted


@pytest.mark.parametrize("case", CASES)
def test_a_full_memory_holds_up_no_script(raw: Raw, link: Link, case: str) -> None:
    """At maxmemory, with nothing to be evicted, all of it works: it is what frees memory."""
    wanted = undisturbed(raw, link, case)
    act = CASES[case](raw, link)
    raw.config_set("maxmemory", "1")
    try:
        act(link)
    finally:
        raw.config_set("maxmemory", "0")
    assert state(raw) == wanted


@pytest.mark.parametrize("case", CASES)
def test_a_script_may_be_sent_twice(raw: Raw, link: Link, case: str) -> None:
    """Where only the reply was lost, the second finds all done and changes nothing."""
    wanted = undisturbed(raw, link, case)
    act = CASES[case](raw, link)
    act(link)
    act(link)
    assert state(raw) == wanted


def test_every_script_of_the_worker_is_tried_here() -> None:
    """A new one, or one that is renamed, isn't forgotten: what only people ask for is tested beside them."""
    by_hand = {
        "entries",
        "replay",
        "release",
        "retries",
        "discard_dead_letter",
        "discard_retry",
        "pause",
        "overview",
        "processes",
        "serving",
        "left",
        "count",
        "minutes",
        "delay",
        "span",
        "delete_group",
        "set_group",
        "publish_delayed",
        "discard_delayed",
        "hold_relay",
        "let_go_relay",
    }
    assert {each.name for each in all_scripts()} == {case.split()[0] for case in CASES} | by_hand


def test_no_line_of_a_script_is_longer_than_120_characters() -> None:
    """As in the code beside them: ruff looks at Python only."""
    assert [line for each in all_scripts() for line in each.source.splitlines() if len(line) > 120] == []


# ---------------------------------------------------------------- fences


@pytest.mark.parametrize("case", ["retry", "dead_letter", "retry of ours", "dead_letter of ours"])
def test_what_another_has_claimed_is_neither_retried_nor_buried(raw: Raw, link: Link, case: str) -> None:
    """Only the consumer for which an entry is pending may copy it."""
    act = CASES[case](raw, link)
    key = REDELIVERY if "ours" in case else MAIN
    raw.xclaim(key, "billing", "another", 0, ["1-1"])
    before = state(raw)
    act(link)
    assert state(raw) == before


def test_a_heartbeat_steals_nothing_back(raw: Raw, link: Link) -> None:
    """What another has claimed stays the other's, and is told to be lost; what is settled, too."""
    deliver(raw, link)
    raw.xadd(MAIN, {"n": "2"}, id="2-1")
    raw.xadd(MAIN, {"n": "3"}, id="3-1")
    raw.xreadgroup("billing", "c", {MAIN: ">"})
    raw.xclaim(MAIN, "billing", "another", 0, ["1-1"])
    raw.xack(MAIN, "billing", "2-1")
    assert renew(link, member(), MAIN, ["1-1", "2-1", "3-1"]) == ["orders/1-1", "orders/2-1"]
    assert {each["message_id"]: each["consumer"] for each in _pending(raw, MAIN) or ()} == {
        "1-1": "another",
        "3-1": "c",
    }


def test_what_is_handed_back_is_claimable_at_once_and_counted_as_never_delivered(raw: Raw, link: Link) -> None:
    """The next delivery is the first; a late heartbeat of the old owner changes nothing."""
    deliver(raw, link)
    handed, _ = hand_back(link, member())
    assert handed == 1
    assert renew(link, member(), MAIN, ["1-1"]) == ["orders/1-1"]
    ((_, owner, _, times),) = link.call("XPENDING", MAIN, "billing", "-", "+", 1)
    assert (owner, times) == ("returned", 0)
    found = claim(link, member("d"), 10, idle_until=0)
    assert [each.entry_id for each in found.deliveries] == ["1-1"]
    ((_, owner, _, times),) = link.call("XPENDING", MAIN, "billing", "-", "+", 1)
    assert (owner, times) == ("d", 1)


@pytest.mark.parametrize("refused", [MAIN, REDELIVERY])
def test_what_is_held_in_one_stream_is_handed_back_where_the_other_is_refused(
    raw: Raw, link: Link, refused: str
) -> None:
    """And the refusal is raised."""
    other = MAIN if refused == REDELIVERY else REDELIVERY
    deliver(raw, link, other)
    raw.delete(refused)
    raw.lpush(refused, "of a wrong type")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        hand_back(link, member())
    assert [each["consumer"] for each in _pending(raw, other) or ()] == ["returned"]


def test_one_promoter_at_a_time(raw: Raw, link: Link) -> None:
    """While one has the stream's lease, the others move nothing; it outlives its holder for a moment."""
    a_retry(raw, link)
    raw.set(PROMOTER, "another 1", px=2_000)
    step = promote(link, member().stream, ["billing"], "me")
    assert isinstance(step, Held)
    assert 0 < step.ms <= 2_000
    assert raw.zcard(RETRY) == 1
    raw.delete(PROMOTER)
    step = promote(link, member().stream, ["billing"], "me")
    assert isinstance(step, Promotion)
    assert step == Promotion(1, 0, more=False, problems=[], now=step.now, sleep=50)
    assert raw.get(PROMOTER) == f"me {step.now + 50}"
    assert 0 < raw.pttl(PROMOTER) <= 2_050


def test_a_promoter_sleeps_until_what_waits_is_due(raw: Raw, link: Link) -> None:
    """But not for long, and it keeps the lease for somewhat longer. Where nothing waits, nobody holds the lease."""

    def step() -> Promotion:
        found = promote(link, member().stream, ["billing"], "me")
        assert isinstance(found, Promotion)
        return found

    assert step().sleep is None
    assert not raw.exists(PROMOTER)
    publish("orders", 1, delay=60)
    assert step().sleep == 5_000
    assert 5_000 < raw.pttl(PROMOTER) <= 7_000
    later = publish("orders", 2, delay=3)
    sleep = step().sleep
    assert sleep is not None
    assert 2_000 < sleep <= 3_000
    raw.zadd(DELAYED, {later.id: 1})
    assert step().moved == 1
    assert step().sleep == 5_000


@pytest.mark.parametrize("waits", ["delayed", "retry"])
def test_what_is_due_before_the_promoter_looks_is_told(raw: Raw, link: Link, waits: str) -> None:
    """Once: what is due after that, or after the promoter's next look, is found by that look."""

    def wait(n: int, seconds: float) -> None:
        if waits == "delayed":
            publish("orders", n, delay=seconds)
        else:
            raw.xadd(MAIN, {"a": str(n)}, id=f"{n}-1")
            raw.xreadgroup("billing", "c", {MAIN: ">"})
            (delivery,) = pending_of(link, member(), lambda _: False).deliveries
            delivery.outcome = RetryLater(seconds, FAILURE)
            ((command, _),) = settle_commands(member(), [delivery])
            run(link, command)

    def told() -> int:
        return int(raw.xlen(NOTICES))

    make_group(link, member(), "0")
    wait(1, 60)
    assert told() == 1  # nobody looks
    wait(2, 90)
    assert told() == 1  # there is an earlier one
    wait(3, 30)
    assert told() == 2
    assert isinstance(promote(link, member().stream, ["billing"], "me"), Promotion)
    wait(4, 20)
    assert told() == 2  # after the next look
    wait(5, 1)
    assert told() == 3
    assert [fields for _, fields in raw.xrange(NOTICES)] == [{"due": ""}] * 3


def test_who_leaves_lets_go_of_its_own_lease_only(raw: Raw, link: Link) -> None:
    """And tells the others."""
    publish("orders", 1, delay=60)
    promote(link, member().stream, ["billing"], "me")
    raw.delete(NOTICES)
    let_go(link, [member().stream], "another")
    assert raw.exists(PROMOTER)
    assert not raw.exists(NOTICES)
    let_go(link, [member().stream], "me")
    assert not raw.exists(PROMOTER)
    assert raw.xlen(NOTICES) == 1


def test_few_notices_are_kept(raw: Raw, link: Link) -> None:
    """Who missed more than those looks by itself."""
    for n in range(150, 0, -1):
        publish("orders", n, delay=n)
    assert raw.xlen(NOTICES) == 100


def test_a_consumer_that_holds_something_is_not_removed(raw: Raw, link: Link) -> None:
    """Whoever looked before: the script looks again, or what was delivered in between would be thrown away."""
    deliver(raw, link)
    assert run(link, script("retire")([MAIN], "billing", "c", 0)) == 0
    assert _pending(raw, MAIN)


def test_very_much_is_handed_back_in_parts(raw: Raw, link: Link) -> None:
    """More than one script hands back, and nothing is left under the name, which is gone."""
    make_group(link, member(), "0")
    for n in range(350):
        raw.xadd(MAIN, {"n": n})
    raw.xreadgroup("billing", "c", {MAIN: ">"})
    assert hand_back(link, member())[0] == 350
    assert _names(raw, MAIN) == ["returned"]


@pytest.mark.parametrize("owner", ["dead", "returned"])
@pytest.mark.parametrize("limited_to", [None, 8_500], ids=["all", "as many as are free"])
def test_very_much_is_claimed_in_one_go(
    raw: Raw, link: Link, streams: Callable[..., None], owner: str, limited_to: int | None
) -> None:
    """More than a script can hand to one command, of both streams, and what has no body among it is told."""
    group = {"CLAIM_IDLE": 0.001, "BATCH_SIZE": 10_000, "GROUP_CONCURRENCY": limited_to}
    streams({"orders": {"GROUPS": {"billing": group}}})
    make_group(link, member(), "0")
    for key, count in ((REDELIVERY, 500), (MAIN, 9_000)):
        link.call_many([["XADD", key, f"{n}-1", "n", n] for n in range(1, count + 1)])
        link.call("XREADGROUP", "GROUP", "billing", "dead", "COUNT", count, "STREAMS", key, ">")
        raw.xdel(key, "7-1")
    if owner == "returned":
        hand_back(link, member("dead"))
    else:
        wait_until(lambda: raw.xpending_range(MAIN, "billing", "9000-1", "9000-1", 1, idle=1))
    found = claim(link, member("d"), 10_000, idle_until=0 if owner == "returned" else inf)
    # What was handed back without a body is told then, but by Redis 6.2.
    gone = found.vanished
    assert gone in ([f"{REDELIVERY}/7-1", f"{MAIN}/7-1"], [] if owner == "returned" else None)
    tokens = [*(f"{REDELIVERY}/{n}-1" for n in range(1, 501)), *(f"{MAIN}/{n}-1" for n in range(1, 9_001))]
    wanted = [each for each in tokens if not each.endswith("/7-1")]
    if limited_to is not None:
        wanted = wanted[: limited_to - len(gone)]
    assert [each.token for each in found.deliveries] == wanted
    assert raw.hget(TOTALS, "vanished") == "2"


# ---------------------------------------------------------------- bodies that are gone


@pytest.mark.parametrize("outcome", [Ack(), RetryLater(60, Failure()), DeadLetter(Reason.REJECTED, Failure())])
def test_what_is_deleted_while_it_runs_is_settled_as_it_ended(raw: Raw, link: Link, outcome: Outcome) -> None:
    """The consumer has the message: renewing leaves the entry pending, on every server."""
    end_it = settle(MAIN, outcome)(raw, link)
    raw.xadd(MAIN, {"n": "2"}, id="2-1")
    raw.xreadgroup("billing", "c", {MAIN: ">"})
    raw.xdel(MAIN, "1-1")
    assert renew(link, member(), MAIN, ["1-1", "2-1"]) == []
    end_it(link)
    name = {Ack: "acknowledged", RetryLater: "retried", DeadLetter: "dead-lettered"}[type(outcome)]
    assert raw.hgetall(TOTALS) == {name: "1"}
    assert [each["message_id"] for each in _pending(raw, MAIN) or ()] == ["2-1"]


@pytest.mark.parametrize("verb", ["claim", "hand back"])
def test_what_was_deleted_while_it_was_pending_is_in_the_books(raw: Raw, link: Link, verb: str) -> None:
    """On every server it ends as vanished, whoever finds it: newer ones drop it at the next XCLAIM, 6.2 keeps it."""
    deliver(raw, link)
    raw.xdel(MAIN, "1-1")
    told = [] if verb == "claim" else hand_back(link, member())[1]
    if _pending(raw, MAIN):
        wait_until(lambda: raw.xpending_range(MAIN, "billing", "-", "+", 1, idle=1))
        told += claim(link, member("d"), 10, idle_until=inf).vanished
    assert told == ["orders/1-1"]
    assert raw.hgetall(TOTALS) == {"vanished": "1"}
    assert not _pending(raw, MAIN)


def test_a_claim_tells_bodies_that_are_gone_from_those_that_are_there(raw: Raw, link: Link) -> None:
    """Of all its streams at once, in the order of reading, and no more than were asked for."""
    make_group(link, member(), "0")
    for key in (MAIN, REDELIVERY):
        for n in range(1, 6):
            raw.xadd(key, {"n": n}, id=f"{n}-1")
        raw.xreadgroup("billing", "c", {key: ">"})
    hand_back(link, member())
    raw.xdel(MAIN, "1-1", "3-1", "4-1")
    raw.xdel(REDELIVERY, "5-1")
    found = claim(link, member("d"), 9, idle_until=0)
    assert [each.token for each in found.deliveries] == [
        *(f"{REDELIVERY}/{n}-1" for n in (1, 2, 3, 4)), f"{MAIN}/2-1",
    ]  # fmt: skip
    assert found.vanished == [f"{REDELIVERY}/5-1", *(f"{MAIN}/{n}-1" for n in (1, 3, 4))]
    assert raw.hgetall(TOTALS) == {"vanished": "4"}
    assert {each["name"]: each["pending"] for each in raw.xinfo_consumers(MAIN, "billing")} == {
        "d": 1,
        "returned": 1,
    }


def test_what_is_claimed_may_lie_between_what_others_have(raw: Raw, link: Link) -> None:
    """Each comes with its own body, and its delivery counts as one more: what was handed back, as the first."""
    make_group(link, member(), "0")
    for n in range(1, 7):
        raw.xadd(MAIN, {"n": n}, id=f"{n}-1")
    raw.xreadgroup("billing", "c", {MAIN: ">"}, count=1)
    raw.xreadgroup("billing", "d", {MAIN: ">"}, count=2)
    raw.xreadgroup("billing", "c", {MAIN: ">"}, count=2)
    hand_back(link, member())
    raw.xreadgroup("billing", "e", {MAIN: ">"}, count=1)
    wait_until(lambda: raw.xpending_range(MAIN, "billing", "6-1", "6-1", 1, idle=1))
    raw.xclaim(MAIN, "billing", "d", 0, ["2-1", "3-1"], idle=0, justid=True)
    found = claim(link, member("d"), 10, idle_until=inf)
    assert [(each.entry_id, each.fields) for each in found.deliveries] == [
        ("1-1", ["n", "1"]), ("4-1", ["n", "4"]), ("5-1", ["n", "5"]), ("6-1", ["n", "6"]),
    ]  # fmt: skip
    times = {each["message_id"]: each["times_delivered"] for each in raw.xpending_range(MAIN, "billing", "-", "+", 9)}
    assert times == {"1-1": 1, "2-1": 1, "3-1": 1, "4-1": 1, "5-1": 1, "6-1": 2}


def test_the_acl_that_is_documented_allows_every_command(raw: Raw) -> None:
    """Of all scripts, and of what is asked for without one; what empties a server for tests is left out."""
    allowed = set()
    rules = page("docs/connections.md").text.partition("redis-cli ACL SETUSER")[2].partition("\n")[0]
    for word in re.findall(r" \+(\S+)", rules):
        allowed |= set(raw.acl_cat(word[1:])) if word.startswith("@") else {word.partition("|")[0]}
    allowed = {each.partition("|")[0] for each in allowed}
    scripts = [each.source for each in all_scripts()]
    store = ROOT / "django_redis_streams/store"
    functions = [path.read_text() for path in store.rglob("*.py") if path.name != "erase.py"]
    given = {each for text in scripts for each in re.findall(r"redis\.p?call\('(\w+)'", text)}
    given |= {each for text in functions for each in re.findall(r"(?:call\(|\[)\"([A-Z]{3,})\"[,)\]]", text)}
    assert {"xadd", "expire", "memory", "info"} < {each.lower() for each in given}
    # What the doctor alone asks may be refused: it says so, or asks no further.
    of_the_doctor = {"CLUSTER", "CONFIG"}
    assert {each.lower() for each in given - of_the_doctor - {"BLOCK", "RETURNED"}} - allowed == set()
