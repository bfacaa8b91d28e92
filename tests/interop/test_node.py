"""Real ioredis and Django on one server: either reads what the other publishes, and both share the work of a group."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from django_redis_streams import Message, Reject, handler, publish, publish_many
from django_redis_streams.operations import dead_letters
from tests.support.books import letters, totals
from tests.support.waiting import wait_until
from tests.support.workers import Fleet, drain, working

from .conftest import Node

Raw = Any
ID = "0190163d-8694-7a9a-8f2b-3c7a5e1d9f00"
NOON = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
# Envelopes, flat entries and foreign ones, and what nearly is one of these.
ENTRIES: list[list[str | bytes]] = [
    ["id", ID, "data", '{"n": 1}'],
    ["id", ID.upper(), "type", "t", "data", " [1, 2.5, null, true] "],
    ["data", '{"n": 1, "é": "Zoë 🛒"}'],
    ["data", "null", "type", "t", "key", "k", "headers", '{"a": [1]}', "time", "2026-11-01T13:30:00.5+01:00"],
    ["data", "{"],
    ["data", '{"n": NaN}'],
    ["data", "{}", "headers", "[]"],
    ["data", "{}", "time", "noon"],
    ["data", "{}", "data", "{}"],
    ["data", "{}", "else", "1"],
    ["id", "17", "data", "{}"],
    ["id", ID, "type", "t"],
    ["drs-id", ID, "type", "t", "n", "1"],
    ["drs-id", "17", "n", "1"],
    ["n", "1", "drs-id", ID],
    ["drs", "{}", "n", "1"],
    ["n", "1", "n", "2", "type", "t"],
    ["__proto__", "1", "é", b"\xff"],
    ["", ""],
]


@pytest.fixture
def seen(streams: Any, isolated_handlers: None) -> list[Message]:
    """What a handler of the group "billing" has got."""
    got: list[Message] = []
    handler("orders", group="billing")(got.append)
    return got


def groups(raw: Raw, key: str = "orders") -> dict[str, dict[str, Any]]:
    """The rows of the groups of a stream, which may not be there yet."""
    return {row["name"]: row for row in raw.xinfo_groups(key)} if raw.exists(key) else {}


def pending(raw: Raw, group: str) -> dict[str, int]:
    """How many messages each consumer of a group holds."""
    rows = raw.xinfo_consumers("orders", group) if group in groups(raw) else []
    return {row["name"]: row["pending"] for row in rows if row["pending"]}


def done(raw: Raw, group: str, key: str = "orders") -> bool:
    """Whether a group was given all there is, and has acknowledged it."""
    row = groups(raw, key)[group]
    return (row["last-delivered-id"], row["pending"]) == (raw.xinfo_stream(key)["last-generated-id"], 0)


def iso(seconds: float) -> str:
    """A time, in seconds since 1970, as Node writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ---------------------------------------------------------------- Node publishes, Django handles


def test_handlers_get_an_envelope_of_node(node: Node, seen: list[Message]) -> None:
    """The payload as it was, nested and beyond ASCII, with type, key, headers and an id that is a UUID."""
    payload = {"order_id": "ord_124", "total": "99.99", "items": [1, 2.5, None, True], "to": "Zoë 🛒"}
    options = ("--type", "order.imported", "--key", "zoë", "--headers", '{"from": "node"}')
    (entry_id,) = node.produce("orders", payload, options=options)
    drain("orders", "billing")
    (message,) = seen
    assert message.payload == payload
    assert (message.type, message.key, message.headers) == ("order.imported", "zoë", {"from": "node"})
    assert (message.entry_id, message.attempt, len(message.id)) == (entry_id, 1, 36)


def test_handlers_get_a_flat_entry_of_node(node: Node, seen: list[Message], raw: Raw) -> None:
    """The values as text, and the id that Node gave it as the message's own."""
    (entry_id,) = node.produce(
        "orders", {"order_id": "ord_123", "total": 99.5, "paid": True}, options=("--flat", "--type", "order.imported")
    )
    drain("orders", "billing")
    (message,) = seen
    assert message.payload == {"type": "order.imported", "order_id": "ord_123", "total": "99.5", "paid": "true"}
    assert (message.type, message.id) == ("order.imported", raw.xrange("orders")[0][1]["drs-id"])
    assert message.entry_id == entry_id


def test_handlers_get_whatever_fields_node_writes(node: Node, seen: list[Message]) -> None:
    """Plain fields, an order's number among them, which doesn't pass for the message's id."""
    entry_id = node.add("id", "17", "total", "99.99")
    drain("orders", "billing")
    assert [(each.id, each.payload) for each in seen] == [(f"orders/{entry_id}", {"id": "17", "total": "99.99"})]


def test_invalid_json_of_node_becomes_a_dead_letter(node: Node, seen: list[Message], raw: Raw) -> None:
    """Its fields are kept as they came, and the next message is handled."""
    node.add("id", ID, "data", '{"order_id": ')
    node.add("data", '{"order_id": "ord_124"}')
    drain("orders", "billing")
    ((metadata, fields),) = letters(raw)
    assert (metadata["reason"], metadata["id"]) == ("invalid", ID)
    assert fields == ["id", ID, "data", '{"order_id": ']
    assert [each.payload for each in seen] == [{"order_id": "ord_124"}]


def test_what_node_sends_again_has_one_id(node: Node, seen: list[Message], proxy: Any) -> None:
    """A reply is lost: ioredis publishes the message twice, and a handler can tell."""
    proxy.lose_reply_to("xadd")  # as ioredis writes it
    node.produce("orders", {"order_id": "ord_123"}, url=str(proxy.socket))
    drain("orders", "billing")
    first, second = seen
    assert first.id == second.id
    assert first.entry_id != second.entry_id


def test_a_failure_of_what_node_published_is_retried_and_replayed(
    node: Node, streams: Any, isolated_handlers: None, raw: Raw
) -> None:
    """By Django's workers alone, under its id: a consumer of Node in the same group never sees it again."""
    streams({"orders": {"GROUPS": {"billing": {"BACKOFF": (36_000, 36_000)}}}})
    gateway_is_down, runs = True, []

    @handler("orders", group="billing")
    def charge(message: Message) -> None:
        runs.append((message.payload["order_id"], message.id, message.attempt))
        if gateway_is_down:
            raise Reject if message.payload["order_id"] == "ord_2" else ConnectionError

    node.produce("orders", {"order_id": "ord_1"}, {"order_id": "ord_2"})
    ids = [fields["id"] for _, fields in raw.xrange("orders")]
    drain("orders", "billing")
    assert (raw.zcard("{orders}:retry:billing"), len(letters(raw))) == (1, 1)
    raw.zadd("{orders}:retry:billing", dict.fromkeys(raw.zrange("{orders}:retry:billing", 0, -1), 0), xx=True)
    everything = dead_letters.Search(dead_letters.Selection())
    assert [each.row.message_id for each in dead_letters.replay_each(everything, by="ann")] == [ids[1]]
    node.produce("orders", {"order_id": "ord_3"})
    consumer = node.consume("orders", "billing")
    wait_until(lambda: consumer.handled)
    gateway_is_down, runs = False, []
    drain("orders", "billing")
    assert sorted(runs) == [("ord_1", ids[0], 2), ("ord_2", ids[1], 1)]
    assert [each["payload"] for each in consumer.handled] == [{"order_id": "ord_3"}]
    assert totals(raw) == {"acknowledged": 2, "retried": 1, "dead-lettered": 1, "replayed": 1}


# ---------------------------------------------------------------- Django publishes, Node handles


def test_node_gets_what_django_publishes(node: Node, streams: Any, raw: Raw) -> None:
    """Payload, type, key, headers, id and time, with text for what JSON doesn't know; and it acknowledges each."""
    payload = {"to": "Zoë 🛒", "total": Decimal("99.90"), "at": NOON, "items": [{"n": 1}, None, 2.5]}
    published = publish("orders", payload, type="order.created", key="zoë", headers={"trace": "t1"})
    publish_many("orders", [{"n": n} for n in range(25)])
    consumer = node.consume("orders", "warehouse")
    wait_until(lambda: len(consumer.handled) == 26)
    first, *others = consumer.handled
    assert first["payload"] == {**payload, "total": "99.90", "at": "2026-11-01T12:30:00Z"}
    assert (first["id"], first["type"]) == (published.id, "order.created")
    assert (first["key"], first["headers"]) == ("zoë", {"trace": "t1"})
    assert first["time"] == iso(int(raw.xrange("orders", count=1)[0][0].partition("-")[0]) / 1000)
    assert [each["payload"] for each in others] == [{"n": n} for n in range(25)]
    wait_until(lambda: done(raw, "warehouse"))
    consumer.stop()


def test_node_gets_what_was_delayed_and_reads_a_lane(node: Node, streams: Any, raw: Raw) -> None:
    """A Django worker of the stream puts what is due where the group reads it; a lane is a stream of its own."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}, "warehouse": {}}}})
    urgent, plain = node.consume("{orders}:lane:high", "warehouse"), node.consume("orders", "warehouse", "n2")
    publish("orders", {"order_id": "ord_1"}, lane="high")
    publish("orders", {"order_id": "ord_2"}, delay=0.1)
    with working("orders", "billing"):
        wait_until(lambda: urgent.handled and plain.handled)
    assert [each["payload"]["order_id"] for each in urgent.handled + plain.handled] == ["ord_1", "ord_2"]
    wait_until(lambda: done(raw, "warehouse") and done(raw, "warehouse", "{orders}:lane:high"))


def test_both_decode_an_entry_alike(node: Node, seen: list[Message], raw: Raw) -> None:
    """Envelopes, flat entries, foreign ones, and what is nearly one of these: the same message in either language."""
    for fields in ENTRIES:
        raw.execute_command("XADD", "orders", "*", *fields)
    drain("orders", "billing")
    consumer = node.consume("orders", "warehouse")
    wait_until(lambda: len(consumer.handled) == len(ENTRIES))
    assert consumer.handled == [
        {
            "id": each.id, "type": each.type, "payload": each.payload, "key": each.key, "headers": dict(each.headers),
            "time": iso(each.time.timestamp()),
        }
        for each in seen
    ]  # fmt: skip


def test_node_leaves_pending_what_it_cannot_handle(node: Node, raw: Raw) -> None:
    """What can't be decoded, or what its handler throws on; the next one is handled, and the text says which stays."""
    entries = [node.add("id", ID, "data", "{"), node.add("seconds", "soon"), node.add("order_id", "ord_3")]
    consumer = node.consume("orders", "warehouse", "n1")
    wait_until(lambda: consumer.handled)
    wait_until(lambda: pending(raw, "warehouse") == {"n1": 2})
    for entry_id, why in zip(entries, ("SyntaxError", "RangeError"), strict=False):
        assert f"orders/{entry_id} stays pending: {why}" in consumer.complaints


def test_node_finishes_what_it_has_in_hand_when_it_is_told_to_stop(node: Node, raw: Raw) -> None:
    """By SIGTERM; idle too, it ends within a second or so. Nothing stays pending."""
    node.produce("orders", {"order_id": "ord_1", "seconds": 0.5}, {"order_id": "ord_2"})
    consumer, idle = node.consume("orders", "warehouse", "n1"), node.consume("orders", "analytics", "n2")
    wait_until(lambda: pending(raw, "warehouse") == {"n1": 2})
    assert not consumer.handled
    consumer.stop()
    assert len(consumer.handled) == 2
    wait_until(lambda: done(raw, "analytics"))
    idle.stop()
    assert done(raw, "warehouse")


def test_node_takes_up_what_it_held_when_it_died(node: Node, raw: Raw) -> None:
    """Started again under the same name it handles its own first."""
    node.produce("orders", {"order_id": "ord_1", "seconds": 0.3}, {"order_id": "ord_2"})
    consumer = node.consume("orders", "warehouse", "n1")
    wait_until(lambda: pending(raw, "warehouse") == {"n1": 2})
    consumer.kill9()
    node.produce("orders", {"order_id": "ord_3"})
    again = node.consume("orders", "warehouse", "n1")
    wait_until(lambda: done(raw, "warehouse"))
    assert [each["payload"]["order_id"] for each in again.handled] == ["ord_1", "ord_2", "ord_3"]


def test_node_gets_what_was_lost_on_the_way(node: Node, proxy: Any, raw: Raw) -> None:
    """The reply to a read is lost with its connection: what it held is handled after the reconnect."""
    node.produce("orders", {"order_id": "ord_1"})
    proxy.lose_reply_to("$1\r\n>\r\n")
    consumer = node.consume("orders", "warehouse", url=str(proxy.socket))
    wait_until(lambda: consumer.handled)
    wait_until(lambda: done(raw, "warehouse"))


def test_node_makes_a_lost_group_again(node: Node, raw: Raw) -> None:
    """FLUSHALL takes group and stream; it goes on with what is published then."""
    consumer = node.consume("orders", "warehouse")
    wait_until(lambda: "warehouse" in groups(raw))
    raw.flushall()
    wait_until(lambda: "warehouse" in groups(raw))
    node.produce("orders", {"order_id": "ord_1"})
    wait_until(lambda: consumer.handled)


def test_node_claims_where_no_worker_of_django_does(node: Node, raw: Raw) -> None:
    """In a group of Node alone, what one held that was killed is handled by another."""
    node.produce("orders", {"order_id": "ord_1", "seconds": 0.5})
    held = node.consume("orders", "warehouse", "n1")
    wait_until(lambda: pending(raw, "warehouse") == {"n1": 1})
    held.kill9()
    other = node.consume("orders", "warehouse", "n2", "--claim-idle", "600")
    wait_until(lambda: other.handled)
    wait_until(lambda: done(raw, "warehouse"))


# ---------------------------------------------------------------- both in one group


def test_they_share_the_work_of_a_group(node: Node, fleet: Fleet, raw: Raw, streams: Any) -> None:
    """Two consumers of Node and a Django worker: each message is handled once in all, and each gets some."""
    streams(declared := {"orders": {"GROUPS": {"billing": {"BATCH_SIZE": 5}}}})
    fleet.streams = declared
    worker = fleet.start()
    consumers = [node.consume("orders", "billing", name) for name in ("n1", "n2")]
    wait_until(lambda: raw.info("clients")["blocked_clients"] >= 3, "all wait for messages")
    publish_many("orders", [{"order_id": f"ord_{n}", "do": "sleep:0.005", "seconds": 0.005} for n in range(300)])
    published = [fields["id"] for _, fields in raw.xrange("orders")]

    def handled() -> list[list[str]]:
        by_django = [words[1] for words in fleet.noted("ended")]
        return [by_django, *([each["id"] for each in consumer.handled] for consumer in consumers)]

    wait_until(lambda: sum(map(len, handled())) >= 300 and done(raw, "billing"))
    worker.terminate()
    fleet.finish(worker)
    assert all(handled())
    assert sorted(each for ids in handled() for each in ids) == sorted(published)


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_django_worker_claims_what_node_held(node: Node, fleet: Fleet, raw: Raw, streams: Any, deaths: int) -> None:
    """Killed with kill -9, after CLAIM_IDLE, also where it had taken them up again; and what its handler threw on."""
    fleet.streams = {"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 1}}}}
    streams(fleet.streams)
    node.produce("orders", {"seconds": -1}, *({"seconds": 3600} for _ in range(12)))
    for _ in range(deaths):
        consumer = node.consume("orders", "billing", "n1")
        wait_until(lambda consumer=consumer: "RangeError" in consumer.complaints)
        consumer.kill9()
    assert pending(raw, "billing") == {"n1": 10}
    worker = fleet.start()
    wait_until(lambda: len(fleet.noted("ended")) == 13 and done(raw, "billing"))
    worker.terminate()
    fleet.finish(worker)
    published = [fields["id"] for _, fields in raw.xrange("orders")]
    assert sorted(words[1] for words in fleet.noted("ended")) == sorted(published)
    assert totals(raw) == {"acknowledged": 13}
