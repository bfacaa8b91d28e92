"""The books of a group: they balance whatever this package's commands do, and name what others did."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from django_redis_streams import conf, connections, inspection
from django_redis_streams.connections import Link
from django_redis_streams.handlers import handler
from django_redis_streams.inspection.books import Books
from django_redis_streams.keys import EntryId
from django_redis_streams.operations import dead_letters, groups, trimming, waiting
from django_redis_streams.outcomes import REPEATED, Ack, DeadLetter, Reason, RetryLater
from django_redis_streams.store.consume.books import watch
from django_redis_streams.store.consume.delivery import Delivery
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.store.consume.ownership import claim, hand_back
from django_redis_streams.store.consume.promote import make_due, promote
from django_redis_streams.store.consume.read import delivered, read_command
from django_redis_streams.store.consume.trim import trim
from django_redis_streams.store.scripts import run

from .support import states
from .support.servers import CHOSEN
from .support.workers import drain

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
LANES = ("high", "default")
COUNTED = CHOSEN != "redis-6.2"
counted = pytest.mark.skipif(not COUNTED, reason="Redis before 7.0 doesn't count what a stream ever got")


@pytest.fixture
def link() -> Iterator[Link]:
    """A link of an operator's."""
    opened = connections.open(timeout=5)
    yield opened
    opened.close()


def books(group: str = "billing") -> Books:
    """The books of one group."""
    return next(each for each in inspection.books("orders") if each.group == group)


def by_others(found: Books) -> dict[str, int]:
    """What the books say that others did, as Python names it."""
    return {name.replace("-", "_"): count for name, count in found.by_others.items()}


def publish(raw: Raw, count: int, key: str = "orders") -> list[str]:
    """Publish so many messages."""
    return [raw.xadd(key, {"n": n}) for n in range(count)]


def look(link: Link) -> dict[str, int]:
    """What a worker's watch enters now."""
    return dict(watch(link, conf.stream("orders"), ["billing"])["billing"])


# ---------------------------------------------------------------- by our own commands


class Queue:
    """A stream with one group, and what an outsider expects of its books."""

    def __init__(self, raw: Raw, link: Link, seed: int) -> None:
        self.raw, self.link, self.random = raw, link, random.Random(seed)
        self.config = conf.stream("orders")
        self.place = Membership(self.config, self.config.groups["billing"], "tested")
        self.in_hand: list[Delivery] = []
        self.published = self.again = self.passed = 0
        self.make("0")

    def make(self, start: str) -> None:
        """The group begins, on all lanes at an id, or at either end of what is there."""
        self.in_hand.clear()
        self.published = self.again = self.passed = 0
        for key in map(self.config.keys.lane, self.config.lane_names):
            self.published += 0 if start == "$" else len(self.raw.xrange(key, f"({start}" if start != "0" else "-"))
        make_group(self.link, self.place, start)

    @property
    def key(self) -> str:
        """Any lane's stream."""
        return self.config.keys.lane(self.random.choice(self.config.lane_names))

    def publish(self) -> None:
        """Some messages."""
        count = self.random.randint(1, 6)
        publish(self.raw, count, self.key)
        self.published += count

    def delay(self) -> None:
        """A delayed message, whose time comes."""
        states.delay({"n": 1}, seconds=0)
        promote(self.link, self.config, ["billing"], "tested")
        self.published += 1

    def read(self) -> None:
        """A consumer gets some of what is new."""
        reply = run(self.link, read_command(self.place, self.random.randint(1, 6), None))
        self.in_hand += delivered(self.place, reply)

    def settle(self) -> None:
        """Some of what it holds; what isn't its own any more is refused, or acknowledged in vain."""
        failure = states.FAILURE
        unrun = [Ack(skipped=True), REPEATED]
        outcomes = [Ack(), Ack(), *unrun, RetryLater(3600, failure), DeadLetter(Reason.REJECTED, failure)]
        for each in self.random.sample(self.in_hand, self.random.randint(0, len(self.in_hand))):
            self.in_hand.remove(each)
            states.settle([each], self.random.choice(outcomes))

    def redeliver(self) -> None:
        """Retries are due."""
        make_due(self.link, self.config.keys, ["billing"])
        promote(self.link, self.config, ["billing"], "tested")

    def leave(self) -> None:
        """The consumer stops, and another claims what it held."""
        hand_back(self.link, self.place)
        self.in_hand = claim(self.link, self.place, 100, idle_until=0).deliveries

    def replay(self) -> None:
        """A dead letter goes back."""
        for row in inspection.dead_letters(count=2).rows:
            dead_letters.replay("orders", [row.entry_id], by="ann")

    def discard(self) -> None:
        """A dead letter and a retry are discarded."""
        for row in inspection.dead_letters(count=1).rows:
            dead_letters.discard("orders", [row.entry_id], by="ann")
        for waits in inspection.retrying(count=1).rows:
            waiting.discard_retries("orders", "billing", [waits.token], by="ann")

    def pause(self) -> None:
        """Paused and resumed."""
        groups.pause("orders", "billing", by="ann")
        groups.resume("orders", "billing", by="ann")

    def trim(self) -> None:
        """What nobody needs goes."""
        trim(self.link, replace(self.config, maxlen=self.random.randint(1, 5), exact_trim=True))

    def drop(self) -> None:
        """And what somebody needs: it is in the books as dropped, or when its turn comes, as vanished."""
        trimming.drop("orders", maxlen=self.random.randint(2, 8), max_age=None, exact=True, by="ann")

    def watch(self) -> None:
        """What a worker does each few seconds."""
        look(self.link)

    def reset(self) -> None:
        """To either end, or anywhere."""
        key = self.key
        groups.reset("orders", "billing", self._place(key), by="ann")

    def _place(self, key: str) -> str:
        # In another lane it would be yet to come: see below.
        lanes = map(self.config.keys.lane, self.config.lane_names)
        ends = [self.raw.xinfo_stream(each)["last-generated-id"] for each in lanes]
        ids = [entry for entry, _ in self.raw.xrange(key) if all(EntryId.of(entry) <= EntryId.of(end) for end in ends)]
        return str(self.random.choice(["0", "$", *ids]))

    def begin_anew(self) -> None:
        """Deleted and made again."""
        groups.delete("orders", "billing", by="ann", force=True)
        self.make(self._place(self.key))


STEPS = [
    *(Queue.publish, Queue.read, Queue.settle) * 4,
    *(Queue.delay, Queue.redeliver, Queue.leave, Queue.replay, Queue.discard, Queue.pause, Queue.trim),
    *(Queue.watch, Queue.reset, Queue.reset, Queue.begin_anew),
]


@pytest.mark.parametrize("lanes", [False, True], ids=["plain", "lanes"])
@pytest.mark.parametrize("seed", range(12))
def test_the_books_balance_whatever_our_commands_do(
    raw: Raw, link: Link, streams: Callable[..., None], seed: int, *, lanes: bool
) -> None:
    """After each of many steps in any order: what was published is what became of it, and nothing is put on others."""
    streams({"orders": {**({"LANES": list(LANES)} if lanes else {}), "GROUPS": {"billing": {"CLAIM_IDLE": 0.001}}}})
    queue, done = Queue(raw, link, seed), []
    for _ in range(80):
        step = queue.random.choice(STEPS)
        step(queue)
        done.append(step.__name__)
        found = books()
        assert by_others(found) == {}, done
        # Where an id in the midst of a stream leaves open what is unread, that is known later.
        assert found.missing in ({0, None} if COUNTED else {None}), done
        assert found.published in {queue.published, None}, done
    if COUNTED:
        while queue.in_hand or books().unread != 0:
            queue.read()
            queue.settle()
        look(link)
        found = books()
        assert (found.missing, by_others(found)) == (0, {})


@counted
@pytest.mark.parametrize("seed", range(6))
def test_what_we_drop_on_demand_is_in_the_books(raw: Raw, link: Link, streams: Callable[..., None], seed: int) -> None:
    """As dropped, and nothing else is put on others."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 0.001}}}})
    queue, done = Queue(raw, link, seed), []
    for _ in range(60):
        step = queue.random.choice([*STEPS[:-4], Queue.drop])
        step(queue)
        done.append(step.__name__)
        found = books()
        assert set(by_others(found)) <= {"dropped"}, done
        assert found.missing in {0, None}, done
        assert found.published in {queue.published, None}, done


# ---------------------------------------------------------------- what is published to a group


@counted
@pytest.mark.parametrize(("start", "published"), [("0", 10), ("$", 0)])
def test_what_was_gone_before_a_group_began_was_never_published_to_it(
    raw: Raw, streams: Callable[..., None], start: str, published: int
) -> None:
    """A group that is added to a trimmed stream is to get what is there, and its books say so."""
    publish(raw, 100)
    raw.xtrim("orders", maxlen=10, approximate=False)
    streams({"orders": {"GROUPS": {"billing": {"START": start}}}})
    assert (books().published, books().missing) == (10, 0)
    handler("orders", group="billing")(lambda _: None)
    drain()
    publish(raw, 3)
    assert (books().published, books().acknowledged, books().missing) == (published + 3, published, 0)


@counted
def test_a_lane_that_is_added_later_has_all_of_it_published(raw: Raw, link: Link, streams: Callable[..., None]) -> None:
    """It is read from its beginning, whatever was trimmed there before."""
    publish(raw, 5)
    states.acknowledge()
    publish(raw, 20, "{orders}:lane:high")
    raw.xtrim("{orders}:lane:high", maxlen=4, approximate=False)
    streams({"orders": {"LANES": list(LANES), "GROUPS": {"billing": {}}}})
    states.acknowledge()
    assert (books().published, books().acknowledged, books().missing) == (9, 9, 0)


def test_books_of_a_group_that_nobody_kept_are_not_known(raw: Raw, link: Link) -> None:
    """Another client's group, that no worker of ours has seen: what it acknowledges is in no counter."""
    publish(raw, 5)
    raw.xgroup_create("orders", "node", "0")
    raw.xreadgroup("node", "c", {"orders": ">"}, noack=True)
    found = books("node")
    assert (found.published, found.missing, by_others(found)) == (None, None, {})


@counted
def test_books_of_a_group_that_is_found_begin_with_what_waits(raw: Raw, link: Link) -> None:
    """What it was given before is nobody's to count."""
    publish(raw, 10)
    raw.xgroup_create("orders", "billing", "0")
    ((_, given),) = raw.xreadgroup("billing", "node", {"orders": ">"}, count=6)
    raw.xack("orders", "billing", *(entry for entry, _ in given[:4]))
    make_group(link, Membership(conf.stream("orders"), conf.group("orders", "billing"), "ours"), "0")
    assert (books().published, books().pending, books().unread, books().missing) == (6, 2, 4, 0)


@counted
def test_books_that_could_not_be_reckoned_begin_when_they_can(raw: Raw, link: Link, streams: Any) -> None:
    """A START in the midst of a stream: how much came after it is known once the group has read all."""
    ids = publish(raw, 10)
    streams({"orders": {"GROUPS": {"billing": {"START": ids[3]}}}})
    make_group(link, Membership(conf.stream("orders"), conf.group("orders", "billing"), "tested"), ids[3])
    assert books().published in {None, 6}
    states.acknowledge()
    assert look(link) == {}
    publish(raw, 2)
    assert (books().published, books().unread, books().missing) == (8, 2, 0)


@counted
@pytest.mark.parametrize("how", ["made", "reset"])
def test_books_of_a_group_that_is_to_begin_later_begin_then(
    raw: Raw, link: Link, streams: Callable[..., None], how: str
) -> None:
    """At an id that is yet to come: what comes before it is given to nobody, and put on nobody."""
    raw.xadd("orders", {"n": 0}, id="1-1")
    streams({"orders": {"GROUPS": {"billing": {"START": "5-5" if how == "made" else "0"}}}})
    place = Membership(conf.stream("orders"), conf.group("orders", "billing"), "tested")
    make_group(link, place, place.group.start)
    if how == "reset":
        groups.reset("orders", "billing", "5-5", by="ann")
    for entry in ("2-1", "3-1"):
        raw.xadd("orders", {"n": 0}, id=entry)
        assert look(link) == {}
        assert (books().published, by_others(books())) == (None, {})
    raw.xadd("orders", {"n": 0}, id="6-1")
    states.acknowledge()
    assert look(link) == {}
    raw.xadd("orders", {"n": 0}, id="7-1")
    assert (books().acknowledged, books().unread, books().missing, by_others(books())) == (1, 1, 0, {})


@counted
def test_whatever_is_pending_after_the_place_of_a_reset_is_unread_again(raw: Raw) -> None:
    """However much it is."""
    pipeline = raw.pipeline(transaction=False)
    for n in range(1_200):
        pipeline.xadd("orders", {"n": n})
    pipeline.execute()
    states.deliver(count=600)
    assert books().pending == 1_200
    groups.reset("orders", "billing", "0", by="ann")
    assert (books().pending, books().unread, books().given_again) == (0, 1_200, 0)


@counted
def test_a_reset_says_what_is_given_again_and_what_is_passed_over(raw: Raw) -> None:
    """To either end, and to an id in the midst; what was pending after it is unread again, and counts once."""
    ids = publish(raw, 20)
    states.settle(states.deliver(count=5)[:5], Ack())
    groups.reset("orders", "billing", "0", by="ann")
    assert (books().given_again, books().pending, books().unread) == (5, 0, 20)
    groups.reset("orders", "billing", ids[7], by="ann")
    assert (books().passed_over, books().unread) == (8, 12)
    groups.reset("orders", "billing", "$", by="ann")
    assert (books().passed_over, books().unread) == (20, 0)
    groups.reset("orders", "billing", ids[-4], by="ann")
    assert (books().given_again, books().unread) == (8, 3)
    states.acknowledge()
    assert (books().acknowledged, books().missing, by_others(books())) == (8, 0, {})


@counted
def test_a_reset_to_the_midst_of_very_many_begins_the_books_anew(raw: Raw, link: Link) -> None:
    """More are not counted in one step; what waits is known again when the group has read all."""
    pipeline = raw.pipeline(transaction=False)
    for n in range(21_000):
        pipeline.xadd("orders", {"n": n}, id=f"1-{n + 1}")
    pipeline.execute()
    make_group(link, Membership(conf.stream("orders"), conf.group("orders", "billing"), "tested"), "0")
    groups.reset("orders", "billing", "1-10500", by="ann")
    assert (books().published, by_others(books())) == (None, {})
    groups.reset("orders", "billing", "$", by="ann")
    assert look(link) == {}
    publish(raw, 2)
    assert (books().published, books().unread, books().missing) == (2, 2, 0)


@counted
def test_a_retry_that_joins_one_that_waits_is_counted(raw: Raw) -> None:
    """Given again by a reset while it waits for a retry, an entry that fails once more waits once."""
    publish(raw, 1)
    states.retry()
    groups.reset("orders", "billing", "0", by="ann")
    states.retry()
    assert (books().retrying, books().merged, books().missing) == (1, 1, 0)
