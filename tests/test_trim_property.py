"""Whatever the mix of groups, reads, settling, claims, retries and trims: nothing that a group needs is ever gone."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from django_redis_streams import conf, connections, publish_many
from django_redis_streams.connections import Link
from django_redis_streams.outcomes import Ack, DeadLetter, Failure, Reason, RetryLater
from django_redis_streams.store.consume.delivery import Delivery
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.store.consume.ownership import claim, hand_back
from django_redis_streams.store.consume.promote import make_due, promote
from django_redis_streams.store.consume.read import delivered, read_command
from django_redis_streams.store.consume.settle import settle_commands
from django_redis_streams.store.consume.trim import trim
from django_redis_streams.store.scripts import exchange

from .support.waiting import wait_until

# Small blocks, so that a few entries are many of them.
NODE = 5
GROUPS = ("billing", "loyalty", "analytics")
CONSUMERS = ("a", "b")
LANES = ("high", "default")
STREAM = {"LANES": list(LANES), "GROUPS": {name: {"CLAIM_IDLE": 0.001} for name in GROUPS}}

counts = st.integers(min_value=1, max_value=12)
groups = st.sampled_from(GROUPS)
consumers = st.sampled_from(CONSUMERS)


class Stream(RuleBasedStateMachine):
    """A stream on a real server, and beside it what each of its groups still has to get."""

    raw: redis.Redis
    link: Link

    @initialize(first=st.lists(groups, min_size=1, max_size=3, unique=True), count=st.integers(5, 40))
    def begin(self, first: list[str], count: int) -> None:
        """A group or some, and messages for them."""
        self.raw.flushall()
        self.config = conf.stream("orders")
        self.published: list[str] = []
        # Of each group that there is: the messages that it isn't done with; of each consumer: what it has in hand.
        self.needed: dict[str, set[str]] = {}
        self.in_hand: dict[tuple[str, str], dict[str, Delivery]] = {}
        for group in first:
            self.make(group)
        self.publish(count, "default")

    def _place(self, group: str, consumer: str = "a") -> Membership:
        return Membership(self.config, self.config.groups[group], consumer)

    @rule(count=counts, lane=st.sampled_from(LANES))
    def publish(self, count: int, lane: str) -> None:
        """Some messages, which every group needs from now on."""
        publish_many("orders", range(count), lane=lane)
        new = [entry["id"] for _, entry in self.raw.xrevrange(self.config.keys.lane(lane), count=count)]
        self.published += new
        for needed in self.needed.values():
            needed.update(new)

    @rule(group=groups)
    def make(self, group: str) -> None:
        """A group that begins with what is still there: what is trimmed by then it doesn't get."""
        if group not in self.needed:
            self.needed[group] = {
                entry["id"] for lane in LANES for _, entry in self.raw.xrange(self.config.keys.lane(lane))
            }
            make_group(self.link, self._place(group), "0")

    @rule(group=groups, consumer=consumers, count=counts)
    def read(self, group: str, consumer: str, count: int) -> None:
        """A consumer gets some of what is new."""
        if group in self.needed:
            place = self._place(group, consumer)
            (reply,) = exchange(self.link, [read_command(place, count, None)])
            self._take(group, consumer, delivered(place, reply))

    @rule(group=groups, consumer=consumers, count=counts)
    def claim(self, group: str, consumer: str, count: int) -> None:
        """A consumer takes what the other one holds."""
        if group in self.needed:
            found = claim(self.link, self._place(group, consumer), count, idle_until=inf)
            assert found.vanished == []
            self._take(group, consumer, found.deliveries)

    def _take(self, group: str, consumer: str, deliveries: list[Delivery]) -> None:
        for each in deliveries:
            for other in CONSUMERS:
                self.in_hand.setdefault((group, other), {}).pop(each.token, None)
            self.in_hand[group, consumer][each.token] = each

    @rule(group=groups, consumer=consumers, count=counts, kind=st.sampled_from(["ack", "ack", "retry", "bury"]))
    def settle(self, group: str, consumer: str, count: int, kind: str) -> None:
        """Some of what a consumer holds."""
        held = self.in_hand.get((group, consumer), {})
        some = [held.pop(token) for token in list(held)[-count:]]
        outcome = {
            "ack": Ack(),
            "retry": RetryLater(delay=3600, failure=Failure()),
            "bury": DeadLetter(Reason.REJECTED, Failure()),
        }[kind]
        for each in some:
            each.outcome = outcome
        commands = settle_commands(self._place(group, consumer), some)
        assert not [
            reply for reply in exchange(self.link, [each for each, _ in commands]) if isinstance(reply, Exception)
        ]
        if kind != "retry":
            self.needed.get(group, set()).difference_update(each.history().id for each in some)

    @rule(group=groups)
    def redeliver(self, group: str) -> None:
        """Retries are due."""
        make_due(self.link, self.config.keys, [group])
        promote(self.link, self.config, [group], "tested")

    @rule(group=groups, consumer=consumers)
    def leave(self, group: str, consumer: str) -> None:
        """A consumer stops, and hands back what it holds."""
        if group in self.needed:
            self.in_hand.pop((group, consumer), None)
            hand_back(self.link, self._place(group, consumer))

    @rule(
        maxlen=st.none() | st.integers(min_value=1, max_value=20),
        max_age=st.none() | st.floats(min_value=0.001, max_value=0.05),
        exact=st.booleans(),
    )
    def trim(self, maxlen: int | None, max_age: float | None, exact: bool) -> None:
        """By length, by age, by both, exactly or by whole blocks."""
        while trim(self.link, replace(self.config, maxlen=maxlen, max_age=max_age, exact_trim=exact)):
            pass

    def teardown(self) -> None:
        """When every group has finished with everything, about MAXLEN is left, however much was published."""
        for exact in (False, True):
            self._keep_up(exact=exact)

    def _keep_up(self, *, exact: bool) -> None:
        for group in self.needed:
            for consumer in CONSUMERS:
                self.settle(group, consumer, 10_000, "ack")
            self.claim(group, "a", 10_000)
            wait_until(lambda each=group: self._finish(each))
        self.trim(maxlen=3, max_age=None, exact=exact)
        most = 3 if exact else 3 + NODE
        assert all(self.raw.xlen(self.config.keys.lane(lane)) <= most for lane in LANES)

    def _finish(self, group: str) -> bool:
        """One round of a worker that is alone; whether nothing is left. What was claimed twice is no suspect for it."""
        self.raw.delete(self.config.keys.suspects(group))
        self.redeliver(group)
        for consumer in CONSUMERS:
            self.claim(group, consumer, 10_000)
            self.read(group, consumer, 10_000)
            self.settle(group, consumer, 10_000, "ack")
        return not self.needed[group]

    @invariant()
    def nothing_that_is_needed_is_gone(self) -> None:
        """For each group, each message that it isn't done with is where the group will find it."""
        bodies = {entry["id"]: None for lane in LANES for _, entry in self.raw.xrange(self.config.keys.lane(lane))}
        for group, needed in self.needed.items():
            missing = needed - set(bodies)
            if missing:
                kept = "".join(self._private(group))
                assert not [each for each in missing if each not in kept]

    def _private(self, group: str) -> Iterator[str]:
        keys = self.config.keys
        yield from self.link.call("HVALS", keys.retry_entries(group))
        for lane in LANES:
            for _, fields in self.link.call("XRANGE", keys.redelivery(group, lane), "-", "+"):
                yield from fields


@pytest.mark.timeout(300)
def test_nothing_that_a_group_needs_is_ever_gone(streams: Any, raw: redis.Redis, server: Any) -> None:
    """For any order of steps that hypothesis can think of; and a stream whose groups keep up stays small."""
    streams({"orders": STREAM})
    before = raw.config_get("stream-node-max-entries")["stream-node-max-entries"]
    raw.config_set("stream-node-max-entries", NODE)
    link = connections.open(timeout=5)

    class Machine(Stream):
        pass

    Machine.raw, Machine.link = raw, link
    # Without shrinking, which takes minutes where each step asks a server.
    checked = settings(
        max_examples=50,
        stateful_step_count=30,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(Machine, settings=checked)
    finally:
        link.close()
        raw.config_set("stream-node-max-entries", before)
