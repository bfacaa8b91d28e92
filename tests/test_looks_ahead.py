"""How a worker finds what may be claimed without asking often, and when it does what nobody waits for."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import ResponseError

from django_redis_streams import conf, connections
from django_redis_streams.connections import OpenLink
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.operations import groups
from django_redis_streams.store.consume.asking import Asking, ask, ask_all, ask_each, together
from django_redis_streams.store.consume.clock import reset_idle
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.store.consume.ownership import hand_back, pending_of
from django_redis_streams.store.consume.suspects import suspect
from django_redis_streams.store.operate.waiting import release
from django_redis_streams.store.scripts import Command, script
from django_redis_streams.worker.log.recurring import refusals
from django_redis_streams.worker.services.chores import Chore
from django_redis_streams.worker.services.listener import Listener
from django_redis_streams.worker.services.maintenance import Maintenance
from django_redis_streams.worker.timing import DEFAULT_TIMING, Timing

from .support.books import totals
from .support.waiting import undisturbed, wait_until
from .support.workers import Worker, working
from .test_worker_upkeep import calls, hold, upkeep

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
Streams = Callable[..., None]
NOTICES = "{orders}:notices"
TWO = {"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}}
# By itself it would look far too late for any of these tests.
SLOW = Timing(look_ahead=600, look_ahead_at_most=600)


def member(group: str = "billing", name: str = "another") -> Membership:
    """A consumer of a group, which is there."""
    place = Membership(conf.stream("orders"), conf.group("orders", group), name)
    make_group(connections.get(), place, "0")
    return place


def deliver_again(raw: Raw, consumer: str) -> None:
    """Deliver all of the stream to this consumer, at once: a worker that just reads gets nothing of it."""
    pipeline = raw.pipeline(transaction=True)
    pipeline.xgroup_setid("orders", "billing", "0")
    pipeline.xreadgroup("billing", consumer, {"orders": ">"})
    pipeline.execute()


def spent(raw: Raw, looks: Maintenance, steps: int = 1) -> Counter[str]:
    """The commands of some steps."""
    before = calls(raw)
    for _ in range(steps):
        looks.guarded_step()
    return calls(raw) - before - Counter({"info": 1})


def wait_until_it_sleeps(worker: Worker) -> None:
    """Wait until a worker hears notices, and would look by itself only in 20 seconds or more."""
    looks = next(each for each in worker.services if isinstance(each, Maintenance))
    listener = next(each for each in worker.services if isinstance(each, Listener))
    wait_until(lambda: listener.waits_since)
    # What it was called for when the listener connected is looked at together with this, or was before.
    began = time.monotonic()
    looks.hear("orders", "billing")
    wait_until(lambda: looks.groups[0].asked > began and looks.groups[0].due > time.monotonic() + 20)


# ---------------------------------------------------------------- what may be claimed


def test_a_group_in_which_nothing_is_nearly_stale_is_not_looked_at_again_soon(raw: Raw) -> None:
    """Steps ask nothing until a look is due, which asks two commands; what it hears of is looked at at once."""
    member()
    looks = upkeep(Worker(), timing=replace(DEFAULT_TIMING, look_stale=0.0))
    looks.guarded_step()
    (look,) = looks.groups
    assert 9.4 < look.due - look.asked <= 10
    assert spent(raw, looks, 50) == {}
    assert looks.interval == DEFAULT_TIMING.look_heard
    looks.hear("orders", "billing")
    assert spent(raw, looks) == {"xpending": 2}
    for nobody in (("orders", "loyalty"), ("mails", "billing")):
        looks.hear(*nobody)
    assert spent(raw, looks) == {}


@pytest.mark.parametrize(("idle", "near"), [(0, False), (49, False), (51, True), (61, True)])
def test_what_becomes_stale_before_the_next_look_is_seen(raw: Raw, *, idle: float, near: bool) -> None:
    """Then the next look is soon. The horizon is ten seconds, of a CLAIM_IDLE of sixty."""
    member()
    hold(raw, idle=idle)
    looks = upkeep(Worker())
    looks.guarded_step()
    (look,) = looks.groups
    assert look.near is near
    assert look.wait == (0.5 if near else 10)


def test_what_a_dead_worker_held_is_claimed_when_it_is_stale(raw: Raw, streams: Streams) -> None:
    """About half a second after CLAIM_IDLE at the latest, as ever, though nobody looks in between."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 4}}}})
    runs: list[float] = []
    handler("orders", group="billing")(lambda _: runs.append(time.monotonic()))
    member()
    with working() as worker:
        wait_until(lambda: worker.runner.claiming.may_claim)
        raw.xadd("orders", {"n": 1}, id="1-1")
        wait_until(lambda: len(runs) == 1 and not raw.xpending("orders", "billing")["pending"])
        looks = next(each for each in worker.services if isinstance(each, Maintenance))

        def claimed_after() -> float:
            deliver_again(raw, "dead")
            before, began = len(runs), time.monotonic()
            wait_until(lambda: len(runs) > before and not raw.xpending("orders", "billing")["pending"])
            assert runs[-1] - began > 3.9
            return runs[-1] - began

        wait_until(lambda: claimed_after() < 5.5, "it is claimed in time, where nothing else holds it up")
        assert looks.groups[0].horizon == 2


def test_a_consumer_that_may_not_claim_yet_is_told_when_it_may(raw: Raw, streams: Streams) -> None:
    """Its connection is too young. The looks go on as long, the next is as soon as it may."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 60}}}})
    worker = Worker()
    member()
    hold(raw, idle=61)
    looks = upkeep(worker)
    worker.runner.connection.since = time.monotonic()
    looks.guarded_step()
    (look,) = looks.groups
    assert look.near
    assert look.wait == 0.5
    assert not worker.runner.claiming.stale.is_set()

    def wait() -> float:
        worker.runner.connection.since = time.monotonic() - 29.8
        return look.wait

    assert 0.1 < undisturbed(wait, 0.1) <= 0.25
    wait_until(lambda: looks.guarded_step() is not None and worker.runner.claiming.stale.is_set())
    assert worker.runner.claiming.may_claim


def test_while_all_consumers_know_that_there_is_something_nobody_asks(raw: Raw) -> None:
    """They are busy or paused. When they have claimed, they are told anew of what is left."""
    worker = Worker()
    place = member()
    raw.xadd("orders", {"n": 1})
    raw.xreadgroup("billing", "another", {"orders": ">"})
    hand_back(connections.get(), place)
    looks = upkeep(worker, timing=replace(DEFAULT_TIMING, look_stale=0.01, look_ahead=600))
    looks.guarded_step()
    assert worker.runner.claiming.stale.is_set()
    wait_until(lambda: time.monotonic() > looks.groups[0].due)
    assert spent(raw, looks, 20) == {}
    worker.runner.claiming.stale.clear()
    wait_until(lambda: looks.guarded_step() is not None and worker.runner.claiming.stale.is_set())


def by_hand_back(raw: Raw, place: Membership, entry_id: str) -> None:
    """Its consumer hands it back."""
    hand_back(connections.get(), place)


def by_release(raw: Raw, place: Membership, entry_id: str) -> None:
    """An operator does, once it is idle for long."""
    raw.xclaim("orders", "billing", place.consumer, 0, [entry_id], idle=61_000, justid=True)
    assert release(connections.get(), place.stream, place.group, [("orders", entry_id, place.consumer)]) == [1]


def by_counting_anew(raw: Raw, place: Membership, entry_id: str) -> None:
    """The server's clock went back, so that what was handed back seems idle for no time."""

    def count() -> bool:
        raw.xclaim("orders", "billing", "returned", 0, [entry_id], idle=0, justid=True)
        return sum(reset_idle(connections.get(), place.keys, "orders", "billing", 60_000)) > 0

    wait_until(count)


@pytest.mark.parametrize("how", [by_hand_back, by_release, by_counting_anew])
def test_what_may_be_claimed_at_once_is_told(raw: Raw, how: Callable[[Raw, Membership, str], None]) -> None:
    """To workers that sleep; where there is nothing, nothing is told."""
    place = member()
    hand_back(connections.get(), member(name="holds nothing"))
    assert not raw.exists(NOTICES)
    entry_id = raw.xadd("orders", {"n": 1})
    raw.xreadgroup("billing", "another", {"orders": ">"})
    how(raw, place, entry_id)
    assert [fields for _, fields in raw.xrange(NOTICES)] == [{"claimable": "billing"}]


def test_suspects_are_seen_soon_after_they_were_handed_back(raw: Raw) -> None:
    """Not in the look at what was handed back, but in the next one; and again and again as long as there are some."""
    seen: list[None] = []
    place = member()
    looks = upkeep(Worker(), timing=replace(DEFAULT_TIMING, look_stale=0.05))
    looks._looks._see_suspects = lambda: seen.append(None)
    looks.guarded_step()
    raw.xadd("orders", {"n": 1})
    raw.xreadgroup("billing", "another", {"orders": ">"})
    (held,) = pending_of(connections.get(), place, lambda _: False).deliveries
    suspect(connections.get(), place, held, "shop.charge", "was killed")
    hand_back(connections.get(), place)
    (look,) = looks.groups
    before = look.asked
    looks.hear("orders", "billing")
    wait_until(lambda: looks.guarded_step() is not None and look.asked > before)
    assert not seen
    wait_until(lambda: looks.guarded_step() is not None and len(seen) == 3, deadline=60)


def test_a_busy_worker_hears_that_its_group_was_deleted(raw: Raw) -> None:
    """It looks at the group, long before it would by itself."""
    began, finish = threading.Event(), threading.Event()

    @handler("orders", group="billing")
    def run(_: Message) -> None:
        began.set()
        finish.wait(20)

    with working(timing=SLOW) as worker:
        raw.xadd("orders", {"n": 1})
        assert began.wait(20)
        wait_until_it_sleeps(worker)
        groups.delete("orders", "billing", by="ann", force=True)
        wait_until(lambda: worker.runner.connection.deleted)
        finish.set()


def test_what_is_handed_back_is_heard_of(raw: Raw) -> None:
    """A worker that sleeps for minutes runs it within half a second or so."""
    runs: list[float] = []
    handler("orders", group="billing")(lambda _: runs.append(time.monotonic()))
    place = member(name="leaves")
    with working(timing=replace(SLOW, block=60)) as worker:
        raw.xadd("orders", {"n": 1})
        wait_until(lambda: len(runs) == 1)
        wait_until_it_sleeps(worker)
        deliver_again(raw, "leaves")
        began = time.monotonic()
        hand_back(connections.get(), place)
        wait_until(lambda: len(runs) == 2)
        assert runs[1] - began < 20


def test_a_refusal_of_one_group_holds_up_no_other(raw: Raw, streams: Streams, caplog: Any) -> None:
    """Neither in its look nor in the next steps, and it is told."""
    streams(TWO)
    workers = [Worker(group=group) for group in ("billing", "loyalty")]
    for group in ("billing", "loyalty"):
        member(group)
        hold(raw, group, idle=61)
    for each in workers:
        each.runner.connection.since = time.monotonic() - 100
    raw.lpush("{orders}:suspects:billing", "of a wrong type")
    looks = upkeep(*workers)
    with caplog.at_level(logging.ERROR):
        looks.connected = lambda: None  # type: ignore[method-assign]  its doubt
        looks.guarded_step()
        assert workers[1].runner.claiming.stale.is_set()
        assert not workers[0].runner.claiming.stale.is_set()
        wait_until(lambda: looks.guarded_step() and "WRONGTYPE" in refused(caplog))
        raw.delete("{orders}:suspects:billing")
        wait_until(lambda: looks.guarded_step() and workers[0].runner.claiming.stale.is_set())


def refused(caplog: Any) -> str:
    """What was logged of refusals."""
    refusals.log_due(now=True)
    return str(caplog.text)


def test_a_group_that_is_gone_is_made_and_holds_up_no_other(raw: Raw, streams: Streams) -> None:
    """In the look that finds it out."""
    streams(TWO)
    workers = [Worker(group=group) for group in ("billing", "loyalty")]
    member("loyalty")
    hold(raw, "loyalty", idle=61)
    for each in workers:
        each.runner.connection.since = time.monotonic() - 100
    looks = upkeep(*workers)
    looks.connected = lambda: None  # type: ignore[method-assign]  its doubt
    looks.guarded_step()
    assert {each["name"] for each in raw.xinfo_groups("orders")} == {"billing", "loyalty"}
    assert workers[1].runner.claiming.stale.is_set()


def test_many_questions_are_answered_in_their_order(raw: Raw) -> None:
    """Also where they go in pieces, and some are refused."""
    raw.set("wrong", "text")
    questions: list[list[tuple[str, ...]]] = [
        [("ECHO", str(n)), ("LLEN", "wrong") if n % 100 == 7 else ("ECHO", "b")] if n % 3 else []
        for n in range(1, 1_001)
    ]
    for n, answer in enumerate(ask_all(connections.get(), questions), 1):
        if n % 3 and n % 100 == 7:
            assert isinstance(answer, ResponseError)
        else:
            assert answer == ([str(n), "b"] if n % 3 else [])


# ---------------------------------------------------------------- chores


def test_steps_that_ask_side_by_side_share_their_round_trips(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is sent the replies to what it has asked, and goes on alone when the others have ended."""

    def count_to(last: int) -> Asking[list[str]]:
        heard = []
        for n in range(last):
            heard += yield [("ECHO", f"{n} of {last}")] * (n + 1)
        return heard

    link, trips = connections.get(), trips_of(monkeypatch)
    heard = ask(link, together([count_to(last) for last in (0, 2, 50, 3)]))
    assert [len(each) for each in heard] == [0, 3, 1275, 6]
    assert heard[1] == ["0 of 2", "1 of 2", "1 of 2"]
    assert len(trips) == 50


def test_what_takes_a_server_long_is_asked_a_few_at_a_time(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """So scripts hold up nobody, however many there are."""
    commands = [script("minutes")(["none"], "0"), ("ECHO", "a")] * 25
    trips = trips_of(monkeypatch)
    assert ask_each(connections.get(), commands)[1::2] == ["a"] * 25
    assert max(sum(each[0] == "EVALSHA" for each in trip) for trip in trips) <= 10


def test_the_chores_of_many_streams_cost_no_more_round_trips_than_those_of_one(
    raw: Raw, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The books of ten groups are looked at in one, and all else is asked in the same."""
    names = [f"orders-{n}" for n in range(20)]
    streams({name: {"MAXLEN": 1_000, "GROUPS": {"billing": {}}} for name in names})
    workers = [Worker(stream=name) for name in names]
    for each in workers:
        make_group(connections.get(), each.runner.membership, "0")
    timing = Timing(watch=0, retire=0, count_others=0, trim=0)
    runners = [each.runner for each in workers]
    looks = Maintenance("default", threading.Event(), runners, [conf.stream(name) for name in names], timing)
    looks.guarded_step()
    looks._chores_due = 0.0
    trips = trips_of(monkeypatch)
    looks.guarded_step()
    asked = [command for trip in trips for command in trip]
    assert sum(each[0] == "EVALSHA" for each in asked) == 20
    assert {each[0] for each in asked} >= {"HKEYS", "XINFO", "XLEN"}
    assert len(trips) <= 8


def trips_of(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Command]]:
    """Return a list that gets what is sent in each round trip from now on."""
    trips: list[Sequence[Command]] = []
    call_many = OpenLink.call_many

    def note(link: OpenLink, commands: Sequence[Command]) -> list[Any]:
        trips.append(commands)
        return call_many(link, commands)

    monkeypatch.setattr(OpenLink, "call_many", note)
    return trips


def test_a_chore_is_done_ever_more_rarely_while_nothing_happens() -> None:
    """And often again as soon as something does."""
    chore = Chore(100.0, often=5, rarely=60, first=5)
    assert not chore.is_due(104, 0)
    now, waits = 105.0, []
    for _ in range(8):
        assert chore.is_due(now, 0)
        chore.done(now, 0)
        before = now
        while not chore.is_due(now, 0):
            now += 0.5
        waits.append(now - before)
    assert waits[0] == 5
    assert waits[:4] == sorted(waits[:4])
    assert all(60 <= each <= 66.5 for each in waits[4:])
    chore.done(now, 0)
    assert not chore.is_due(now + 5, 0)
    assert chore.is_due(now + 5, 1)
    chore.done(now + 5, 1)
    assert not chore.is_due(now + 9, 1)
    assert chore.is_due(now + 10, 1)
    chore.done(now + 10, 1, changed=True)
    assert chore.is_due(now + 15, 1)


def test_many_share_a_chore() -> None:
    """Each does it the more rarely, also while something happens: all together do it often."""
    chore = Chore(0.0, often=5, rarely=60)
    for n in range(10):
        chore.done(n * 1_000, 0, share=0.1)
    assert not chore.is_due(9_000 + 500, 0)
    assert chore.is_due(9_000 + 700, 0)
    assert not chore.is_due(9_000 + 45, 1)
    assert chore.is_due(9_000 + 50, 1)


@pytest.mark.parametrize("limit", [{"MAXLEN": 1_000}, {"MAX_AGE": 3_600}])
def test_a_stream_within_its_limits_costs_a_command(raw: Raw, streams: Streams, limit: dict[str, int]) -> None:
    """It is trimmed by a script only where that may remove something."""
    streams({"orders": {**limit, "GROUPS": {"billing": {}}}})
    place = member()
    raw.xadd("orders", {"n": 1})
    looks = upkeep(Worker(), timing=replace(DEFAULT_TIMING, trim=0.0))
    looks.guarded_step()
    asked = spent(raw, looks)
    assert asked == {"xlen" if "MAXLEN" in limit else "xrange": 1}
    for _ in range(1_200):
        raw.xadd("orders", {"n": 1})
    raw.xgroup_setid("orders", place.group.name, "$")
    if "MAX_AGE" in limit:
        raw.delete("orders")
        for n in range(1, 1_201):
            raw.xadd("orders", {"n": 1}, id=f"{n}-1")
        member()
        raw.xgroup_setid("orders", "billing", "$")
    looks.guarded_step()
    assert raw.xlen("orders") <= 1_100


def test_a_worker_trims_soon_again_when_it_has_handled_something(raw: Raw, streams: Streams) -> None:
    """Though it had looked ever more rarely."""
    streams({"orders": {"MAXLEN": 1, "EXACT_TRIM": True, "GROUPS": {"billing": {}}}})
    handler("orders", group="billing")(lambda _: None)
    with working(timing=Timing(trim=0.02, trim_rarely=600)) as worker:
        looks = next(each for each in worker.services if isinstance(each, Maintenance))
        chore = looks._upkeep[0]._trim
        assert chore is not None
        wait_until(lambda: chore._wait > 0.5)
        chore._wait = 600.0
        for _ in range(20):
            raw.xadd("orders", {"n": 1})
        wait_until(lambda: totals(raw) == {"acknowledged": 20})
        wait_until(lambda: raw.xlen("orders") == 1)
