"""What the listings show, page by page, and that looking touches nothing."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_redis_streams import inspection
from django_redis_streams.exceptions import ConfigurationError, ServerUnreachable, UnknownStream
from django_redis_streams.inspection import Cursor, lists, paging
from django_redis_streams.outcomes import Reason
from django_redis_streams.store.observe.bounded import Extent
from django_redis_streams.wire import RedeliveryMetadata, attach_metadata

from .support import states
from .support.servers import Server

Raw = Any
LISTINGS = (inspection.dead_letters, inspection.retrying, inspection.pending)


@pytest.fixture(autouse=True)
def _empty(streams: Callable[..., None]) -> None:
    """Begin with an empty server."""


def all_pages(listing: Callable[..., Any], **asked: Any) -> list[Any]:
    """The rows of all pages, read one after another."""
    rows, page = [], listing(**asked)
    while page.next:
        assert page.searched
        rows += page.rows
        page = listing(**asked, after=Cursor.parse(str(page.next)))
    return [*rows, *page.rows]


def test_a_dead_letter_tells_all_that_is_known(raw: Raw) -> None:
    """What it was, where it came from, why and when it failed, and its fields as they were."""
    (entry_id,) = states.publish(raw, {"order_id": "ord_123", "type": "order.created"})
    states.bury(reason=Reason.REJECTED)
    (row,) = inspection.dead_letters().rows
    assert (row.stream, row.group, row.lane, row.type) == ("orders", "billing", "default", "order.created")
    assert (row.message_id, row.key, row.published_id) == (f"orders/{entry_id}", "orders", entry_id)
    assert (row.attempts, row.reason, row.replays, row.native) == (1, "rejected", 0, True)
    assert (row.handler, row.error, row.traceback) == (
        states.FAILURE.handler,
        states.FAILURE.error,
        states.FAILURE.traceback,
    )
    assert row.pairs == [("order_id", "ord_123"), ("type", "order.created")]
    assert json.loads(row.payload) == {"order_id": "ord_123", "type": "order.created"}
    assert row.first_failed is not None
    assert row.last_failed is not None
    assert timedelta(0) <= datetime.now(UTC) - row.dead_lettered_at < timedelta(seconds=10)


def test_a_retry_tells_when_it_is_due(raw: Raw) -> None:
    """A retrying message shows its next run and its last failure."""
    states.publish(raw, {"a": "1"})
    states.retry(delay=60)
    (row,) = inspection.retrying().rows
    assert (row.group, row.attempts, row.error, row.pairs) == ("billing", 1, states.FAILURE.error, [("a", "1")])
    assert timedelta(seconds=50) < row.due - datetime.now(UTC) <= timedelta(seconds=60)


def test_a_pending_message_tells_who_holds_it(raw: Raw) -> None:
    """A pending message shows its consumer, since when it is silent, and how often it was delivered."""
    (entry_id,) = states.publish(raw, {"a": "1"})
    states.deliver(consumer="box-1")
    raw.xclaim("orders", "billing", "box-1", 0, [entry_id], idle=30_000, retrycount=3, justid=True)
    (row,) = inspection.pending().rows
    assert (row.source, row.entry_id, row.consumer, row.deliveries) == ("main", entry_id, "box-1", 3)
    assert 30 <= row.idle < 40
    assert (row.claim_idle, row.stale, row.body_gone) == (60, False, False)
    assert row.pairs == [("a", "1")]


def test_pending_covers_redelivery_too(raw: Raw) -> None:
    """A message that came by the redelivery stream is shown as what it is, with its failures so far."""
    metadata = RedeliveryMetadata(id="m-1", source="orders", entry="5-0", group="billing", attempt=2, error="again")
    raw.xadd("{orders}:redelivery:billing", dict(zip(*[iter(attach_metadata(metadata, ["a", "1"]))] * 2, strict=True)))
    states.deliver()
    (row,) = inspection.pending().rows
    assert (row.source, row.message_id, row.attempts, row.error) == ("redelivery", "m-1", 2, "again")


def test_a_pending_message_without_a_body_is_shown_as_such(raw: Raw) -> None:
    """What was deleted while it was pending is listed all the same."""
    (entry_id,) = states.publish(raw, {"a": "1"})
    states.deliver()
    raw.xdel("orders", entry_id)
    (row,) = inspection.pending().rows
    assert (row.body_gone, row.payload, row.pairs) == (True, "", [])
    assert row.message_id == f"orders/{entry_id}"


@pytest.mark.parametrize(
    "strange",
    [
        {"no": "metadata"},
        {"drs": "no JSON", "a": "1"},
        {"drs": "[]"},
        {"drs": '{"id": 5}'},
        {"drs": '{"id": "x", "source": "orders", "entry": "1-0", "first": ' + "9" * 400 + ', "last": -5}', "a": "1"},
        {"a": "1", "drs": "{}"},
    ],
)
def test_entries_that_are_not_ours_are_listed(raw: Raw, strange: dict[str, str]) -> None:
    """Anything in a dead letter queue or redelivery stream can be looked at."""
    raw.xadd("{orders}:dlq", strange)
    raw.xadd("{orders}:redelivery:billing", strange)
    states.deliver()
    (letter,), (waiting,) = inspection.dead_letters().rows, inspection.pending().rows
    assert letter.payload
    assert letter.pairs
    assert waiting.pairs


def test_retries_that_cannot_be_read_are_listed(raw: Raw) -> None:
    """A token without a row, or with a row of another make, is shown by its name."""
    mixed = b'\x94\xa1x\xa3drs\xd9\x25{"id":"x","source":"s","entry":"1-0"} \x05'
    for token, row in {
        "mixed": mixed,
        "none": None,
        "text": b"\xff",
        "map": b"\x81\xa1a\x01",
        "numbers": b"\x93\x01\xa3drs\x03",
    }.items():
        raw.zadd("{orders}:retry:billing", {token: 5})
        if row is not None:
            raw.hset("{orders}:retry:billing:entries", token, row)
    raw.zadd("{orders}:retry:billing", {"for ever": "inf", "long ago": "-inf"})
    assert [row.message_id for row in inspection.retrying().rows] == [
        "long ago", "map", "mixed", "none", "numbers", "text", "for ever",
    ]  # fmt: skip


def test_foreign_bytes_come_through_unharmed(raw: Raw) -> None:
    """Bytes that aren't UTF-8 are in the row as they are in the entry."""
    raw.xadd("orders", {"a": b"\xff\x00"})
    states.bury()
    ((name, value),) = inspection.dead_letters().rows[0].pairs
    assert (name, value.encode("utf-8", "surrogateescape")) == ("a", b"\xff\x00")


@pytest.mark.parametrize("data", ["[" * 100_000, '{"a": NaN}', "1" * 5_000, "no JSON", '"\\ud800"'])
def test_any_payload_can_be_shown(raw: Raw, data: str) -> None:
    """A payload that isn't JSON, or beyond what is decoded, is shown as the text it is."""
    raw.xadd("orders", {"id": "00000000-0000-0000-0000-000000000000", "data": data})
    states.bury()
    assert inspection.dead_letters().rows[0].payload


def test_a_payload_that_is_shown_is_not_much_longer_than_it_is(raw: Raw) -> None:
    """Indented where it has room; deep in lists each number would stand behind a line of spaces."""
    numbers = ",".join(["1"] * 2_000)
    raw.xadd("orders", {"id": "00000000-0000-0000-0000-000000000000", "data": "[" * 500 + numbers + "]" * 500})
    raw.xadd("orders", {"id": "00000000-0000-0000-0000-000000000001", "data": '{"a":[1]}'})
    states.bury()
    flat, deep = sorted((row.payload for row in inspection.dead_letters().rows), key=len)
    assert flat.splitlines() == ["{", '  "a": [', "    1", "  ]", "}"]
    assert deep.count("1") == 2_000
    assert len(deep) < 10_000


def test_looking_changes_nothing(raw: Raw) -> None:
    """Delivery counts, idle times, sets and streams are as before."""
    states.publish(raw, {"a": "1"}, {"a": "2"}, {"a": "3"})
    states.settle(states.deliver(count=1), states.Ack())
    for key in ("billing", "loyalty", "analytics"):
        states.deliver(group=key)

    def state() -> Any:
        keys = sorted(raw.scan_iter())
        held = [
            (row["consumer"], row["times_delivered"]) for row in raw.xpending_range("orders", "billing", "-", "+", 9)
        ]
        return [raw.dump(key) for key in keys if key != "orders"], held

    before = state()
    for listing in LISTINGS:
        listing(text="x")
    inspection.books("orders")
    assert state() == before


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_pages_show_each_row_once_in_order(raw: Raw, streams: Any, count: int) -> None:
    """Whatever the page size: no row twice, none left out, newest first, over streams and equal ids."""
    streams({"orders": {"GROUPS": {"billing": {}}}, "tasks": {"GROUPS": {"billing": {}}}})
    for number in range(1, 8):
        raw.xadd("{orders}:dlq", {"n": str(number)}, id=f"{number}-0")
        raw.xadd("{tasks}:dlq", {"n": str(number)}, id=f"{number}-{number % 2}")
    rows = all_pages(inspection.dead_letters, count=count)
    ids = [tuple(map(int, row.entry_id.split("-"))) for row in rows]
    assert ids == sorted(ids, reverse=True)
    assert len({(row.stream, row.entry_id) for row in rows}) == len(rows) == 14


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_pages_of_retries_keep_what_is_due_at_once_apart(raw: Raw, count: int) -> None:
    """Many retries of several groups, due in the same millisecond, are each shown once."""
    for number in range(10):
        raw.zadd("{orders}:retry:billing", {f"orders/{number}-0": 1_000})
        raw.zadd("{orders}:retry:loyalty", {f"orders/{number}-0": 1_000 + number % 2})
    rows = all_pages(inspection.retrying, count=count)
    assert len({(row.group, row.token) for row in rows}) == len(rows) == 20
    assert [row.due for row in rows] == sorted(row.due for row in rows)


@pytest.mark.parametrize("count", [1, 3, 100])
def test_pages_of_pending_messages_begin_with_the_oldest(raw: Raw, count: int) -> None:
    """Pending messages of all groups are merged by their ids."""
    states.publish(raw, *({"n": str(number)} for number in range(5)))
    states.deliver(group="billing")
    states.deliver(group="loyalty")
    rows = all_pages(inspection.pending, count=count)
    assert [row.pairs[0][1] for row in rows] == ["0", "0", "1", "1", "2", "2", "3", "3", "4", "4"]


def test_a_row_that_is_gone_leaves_the_next_page_in_place(raw: Raw) -> None:
    """A cursor is a place, not a row: it holds when its row was replayed or promoted meanwhile."""
    for number in range(6):
        raw.xadd("{orders}:dlq", {"n": str(number)}, id=f"{number + 1}-0")
        raw.zadd("{orders}:retry:billing", {f"orders/{number}": 10})
    letters, retries = inspection.dead_letters(count=2), inspection.retrying(count=2)
    raw.xdel("{orders}:dlq", "5-0")
    raw.zrem("{orders}:retry:billing", "orders/1")
    assert [row.entry_id for row in inspection.dead_letters(count=2, after=letters.next).rows] == ["4-0", "3-0"]
    assert [row.token for row in inspection.retrying(count=2, after=retries.next).rows] == ["orders/2", "orders/3"]


def test_the_last_page_says_so(raw: Raw) -> None:
    """A page that ends with the last row has no next one."""
    for number in range(4):
        raw.xadd("{orders}:dlq", {"n": str(number)})
    first = inspection.dead_letters(count=2)
    assert first.next is not None
    assert inspection.dead_letters(count=2, after=first.next).next is None


def test_filters_narrow_down(raw: Raw, streams: Any) -> None:
    """By stream, group, reason and type, and by what isn't ours."""
    streams({"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}, "tasks": {"GROUPS": {"billing": {}}}})
    states.publish(raw, {"type": "paid"})
    states.bury("orders", "billing", reason=Reason.REJECTED)
    states.bury("orders", "loyalty")
    states.publish(raw, {"type": "sent"}, stream="tasks")
    states.bury("tasks", "billing")
    raw.xadd("{tasks}:dlq", {"strange": "entry"})

    def found(**asked: Any) -> list[tuple[str, str]]:
        return sorted((row.stream, row.group) for row in inspection.dead_letters(**asked).rows)

    assert found(stream="tasks") == [("tasks", ""), ("tasks", "billing")]
    assert found(group="billing") == [("orders", "billing"), ("tasks", "billing")]
    assert found(reason="rejected") == [("orders", "billing")]
    assert found(reason="") == [("tasks", "")]
    assert found(type="paid", group="loyalty") == [("orders", "loyalty")]
    assert found(type="paid", stream="tasks") == []


def test_retries_and_pending_messages_are_filtered_by_group(raw: Raw) -> None:
    """A group's own lists are read, and no others."""
    states.publish(raw, {"type": "paid"})
    states.retry("orders", "billing")
    states.deliver("orders", "loyalty")
    assert [row.group for row in inspection.retrying(group="billing").rows] == ["billing"]
    assert inspection.retrying(group="loyalty").total == 0
    assert [row.group for row in inspection.pending(group="loyalty", type="paid").rows] == ["loyalty"]
    assert inspection.pending(group="loyalty", type="sent").rows == []
    assert inspection.pending(group="nobody").rows == []
    assert inspection.pending().problems == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ord_123", True),
        ("ORD_123 zerodivision", True),
        ("ord_123 elsewhere", False),
        ("müller", True),
        ("München", True),
        ("charge exhausted", True),
        ("stream_handlers.py", True),
        ("  ", True),
    ],
)
def test_search_finds_words_anywhere(raw: Raw, text: str, found: bool) -> None:
    """Each word must stand in some field or fact, in any case, escaped by JSON or not."""
    states.publish(raw, {"order_id": "ord_123", "name": "MÜLLER", "data": json.dumps({"city": "München"})})
    states.bury()
    assert bool(inspection.dead_letters(text=text).rows) is found


def test_search_is_bounded_and_goes_on(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page looks at so many entries and no more, says how many, and the next goes on from there."""
    monkeypatch.setattr(paging, "MOST_SEARCHED", 25)
    for number in range(1, 61):
        raw.xadd("{orders}:dlq", {"n": "needle" if number in (1, 2, 40) else "hay"}, id=f"{number}-0")
    first = inspection.dead_letters(text="needle", count=10)
    assert ([row.entry_id for row in first.rows], first.searched, first.total) == (["40-0"], 25, 60)
    second = inspection.dead_letters(text="needle", count=10, after=first.next)
    assert (second.rows, second.searched) == ([], 25)
    third = inspection.dead_letters(text="needle", count=10, after=second.next)
    assert ([row.entry_id for row in third.rows], third.searched, third.next) == (["2-0", "1-0"], 10, None)


def test_search_is_bounded_by_bytes(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large entries end a page earlier."""
    monkeypatch.setattr(paging, "MOST_BYTES", 100_000)
    for _ in range(10):
        raw.xadd("{orders}:dlq", {"n": "x" * 40_000})
    page = inspection.dead_letters(text="needle", count=1)
    assert page.searched < 10
    assert page.next is not None


def test_a_full_page_stops_searching(raw: Raw) -> None:
    """The next page goes on after the last row that this one looked at."""
    for number in range(1, 31):
        raw.xadd("{orders}:dlq", {"n": "even" if number % 2 == 0 else "odd"}, id=f"{number}-0")
    rows = all_pages(inspection.dead_letters, text="even", count=4)
    assert [row.entry_id for row in rows] == [f"{number}-0" for number in range(30, 0, -2)]


def test_a_full_page_knows_whether_more_was_read(raw: Raw) -> None:
    """What was read and not shown is on the next page, though nothing is left to read."""
    for number, text in enumerate(["last", "last", "last", "hay"], 1):
        raw.xadd("{orders}:dlq", {"n": text}, id=f"{number}-0")
    assert [row.entry_id for row in all_pages(inspection.dead_letters, text="last", count=2)] == ["3-0", "2-0", "1-0"]


def test_groups_that_are_not_declared_are_listed(raw: Raw) -> None:
    """What a removed group left, and what other clients' groups hold, can be seen."""
    states.publish(raw, {"a": "1"})
    raw.xgroup_create("orders", "node", "0")
    raw.xreadgroup("node", "js-1", {"orders": ">"})
    raw.hset("{orders}:groups", "removed", "0")
    raw.zadd("{orders}:retry:removed", {"orders/1-0": 5})
    page = inspection.pending()
    assert [(row.group, row.claim_idle, row.stale) for row in page.rows] == [("node", None, False)]
    assert [row.group for row in inspection.retrying().rows] == ["removed"]
    assert {"billing", "node", "removed"} <= set(page.groups)


def test_a_listing_reads_nothing_but_its_page(server: Server, raw: Raw) -> None:
    """A page of a long list costs a handful of commands, none of which depends on its length."""
    with raw.pipeline() as pipe:
        for number in range(5_000):
            pipe.xadd("{orders}:dlq", {"n": str(number)})
        pipe.execute()
    inspection.dead_letters()
    raw.config_resetstat()
    page = inspection.dead_letters(count=50)
    assert inspection.dead_letters(count=50, after=page.next).total == 5_000
    calls = {name: stats["calls"] for name, stats in raw.info("commandstats").items()}
    assert calls.pop("cmdstat_evalsha") == 2
    assert calls.pop("cmdstat_xrevrange") == 2 * 4  # by the script, which begins with one entry
    assert {name.partition("|")[0] for name in calls} <= {
        "cmdstat_xlen",
        "cmdstat_hkeys",
        "cmdstat_xinfo",
        "cmdstat_config",
        "cmdstat_time",
    }


def test_a_server_that_is_down_is_a_problem_of_the_page(raw: Raw, server: Server, settings: Any) -> None:
    """What other servers hold is shown beside it."""
    settings.REDIS_STREAMS = {
        "CONNECTIONS": {"default": {"URL": server.url}, "down": {"URL": "unix:///nowhere/at.all"}},
        "STREAMS": {
            "orders": {"GROUPS": {"billing": {}}},
            "lost": {"CONNECTION": "down", "GROUPS": {"billing": {}}},
            "gone": {"CONNECTION": "down"},
        },
    }
    raw.xadd("{orders}:dlq", {"a": "1"})
    page = inspection.dead_letters()
    assert len(page.rows) == 1
    assert {problem.stream for problem in page.problems} == {"lost", "gone"}
    assert all(isinstance(problem.error, ServerUnreachable) for problem in page.problems)
    for listing in LISTINGS:
        assert listing().problems


@pytest.mark.parametrize("key", ["{orders}:dlq", "{orders}:retry:billing", "orders", "{orders}:groups"])
def test_a_key_of_a_wrong_type_is_a_problem_of_the_page(raw: Raw, key: str) -> None:
    """A listing that can't be read says so, and the others are read."""
    raw.xadd("{orders}:dlq", {"a": "1"})
    raw.zadd("{orders}:retry:loyalty", {"orders/1-0": 5})
    raw.delete(key)
    raw.set(key, "text")
    pages = [listing() for listing in LISTINGS]
    assert sum(len(page.rows) for page in pages) >= 1
    if key != "{orders}:groups":
        assert any(problem.stream == "orders" for page in pages for problem in page.problems)


def test_what_an_acl_forbids_is_a_problem_of_the_page(server: Server, raw: Raw, streams: Any) -> None:
    """A user who may not look is told, without a password in it."""
    streams(URL=server.user("blind", "s3cret", "+@all", "-xrevrange", "-xpending", "-evalsha", "-eval", "~*"))
    for listing in LISTINGS:
        told = " ".join(str(problem.error) for problem in listing().problems)
        assert "permission" in told
        assert "s3cret" not in told


def test_a_setting_that_cannot_work_is_raised(settings: Any) -> None:
    """A broken REDIS_STREAMS is named rather than taken for an empty one."""
    settings.REDIS_STREAMS = {"STREAM": {}}
    for listing in LISTINGS:
        with pytest.raises(ConfigurationError, match="'STREAM'"):
            listing()


def test_a_stream_that_is_not_declared_is_raised() -> None:
    """Asking for an unknown stream is an error that names it."""
    for listing in LISTINGS:
        with pytest.raises(UnknownStream, match="'elsewhere'"):
            listing(stream="elsewhere")


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "[]", "{}", "null", "[1]", "[1,2,3,4,5]", '["1",0,"","orders",""]', '[NaN,0,"","orders",""]',
        '[Infinity,0,"","orders",""]', '[1e999,0,"","orders",""]', '[1,1.5,"","orders",""]', '[true,0,"","orders",""]',
        f'[1{"0" * 400},0,"","orders",""]', '[1,0,"","orders"]', "[" * 100_000, '[1,0,"\\u0000",null,""]',
        '[1,0,"\\ud800","",""]',
    ],
)  # fmt: skip
def test_a_text_that_is_no_cursor_is_none(text: str) -> None:
    """Whatever stands in a URL is a cursor or nothing."""
    assert Cursor.parse(text) is None


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize(
    "text",
    [
        '[-1,0,"","orders",""]', '[1,0,"","orders",""]', '[18446744073709551615,18446744073709551615,"","",""]',
        '[-18446744073709551615,-18446744073709551615,"","",""]', '[0.5,3,"\\udcff\\u0000","{}","x/y/z"]',
        '[-0.0,-3,"","",""]',
    ],
)  # fmt: skip
def test_any_cursor_gives_a_page(raw: Raw, listing: Callable[..., Any], text: str) -> None:
    """A cursor that nobody was given leads somewhere, or nowhere: never to an error of the program's."""
    states.publish(raw, {"a": "1"})
    states.deliver()
    raw.xadd("{orders}:dlq", {"a": "1"})
    raw.zadd("{orders}:retry:billing", {"orders/1-0": 5})
    cursor = Cursor.parse(text)
    assert cursor is not None
    assert listing(after=cursor).total == 1


def test_messages_are_found_by_their_ids(raw: Raw) -> None:
    """One row for each id asked for, None for what isn't there or can't be an id."""
    states.publish(raw, {"a": "1"})
    states.bury("orders", "billing")
    states.retry("orders", "loyalty")
    states.deliver("orders", "analytics")
    (letter,) = inspection.dead_letters().rows
    (waiting,) = inspection.retrying().rows
    (held,) = inspection.pending().rows
    nothing = ["0-0", "1-1", "-", "+", "$", "", "\u0661-0", "01-0", "99999999999999999999-0", "1-0 2", "\0"]
    assert inspection.find_dead_letters("orders", [letter.entry_id, *nothing]) == [letter, *[None] * len(nothing)]
    tokens = [
        ("loyalty", waiting.token),
        ("billing", waiting.token),
        ("loyalty", ""),
        ("{x}", "a"),
        ("billing:entries", "a"),
    ]
    assert inspection.find_retrying("orders", tokens) == [waiting, None, None, None, None]
    places = [("analytics", place, held.entry_id) for place in ("main", "redelivery", "elsewhere")]
    found = inspection.find_pending("orders", [*places, *(("analytics", "main", each) for each in nothing)])
    assert [row and row.entry_id for row in found] == [held.entry_id, *[None] * (2 + len(nothing))]


def test_the_books_of_a_group_balance(raw: Raw) -> None:
    """What was published is what became of it, for each group on its own."""
    states.publish(raw, *({"n": str(number)} for number in range(3)))
    states.settle(states.deliver(count=1)[:1], states.Ack())
    states.acknowledge("orders", "loyalty")
    states.publish(raw, {"n": "3"}, {"n": "4"})
    states.retry("orders", "loyalty")
    states.bury("orders", "analytics")
    raw.xadd("orders", {"n": "5"})
    states.deliver("orders", "analytics")
    billing, loyalty, analytics = inspection.books("orders")
    counts = raw.info("server").get("redis_version", "7") >= "7"
    assert [book.published for book in (billing, loyalty, analytics)] == ([6] * 3 if counts else [None] * 3)
    assert (loyalty.acknowledged, loyalty.retrying, loyalty.retried) == (3, 2, 2)
    assert (analytics.dead_lettered, analytics.pending, analytics.unread) == (5, 1, 0)
    if counts:
        assert [(book.waiting, book.missing) for book in (billing, loyalty, analytics)] == [(5, 0), (3, 0), (1, 0)]


def test_the_books_of_a_stream_that_was_never_used_are_empty() -> None:
    """A stream that isn't there yet has books of zeros."""
    for book in inspection.books("orders"):
        assert (book.published, book.unread, book.pending, book.waiting, book.missing) == (0, 0, 0, 0, 0)


def test_the_books_of_a_late_group_say_that_they_do_not_know(raw: Raw) -> None:
    """What was published to a group that began in the middle can't be told from the stream."""
    states.publish(raw, {"a": "1"})
    raw.xgroup_create("orders", "late", "$")
    raw.hset("{orders}:groups", "late", raw.xinfo_stream("orders")["last-generated-id"])
    (late,) = [book for book in inspection.books("orders") if book.group == "late"]
    assert (late.published, late.missing, late.unread) == (None, None, 0)


def test_the_books_tell_what_is_unread_though_entries_were_deleted(raw: Raw) -> None:
    """Where the server can't tell the lag any more, both ends are still known."""
    ids = states.publish(raw, {"a": "1"}, {"a": "2"}, {"a": "3"})
    states.deliver(count=1)
    raw.xdel("orders", ids[1])
    states.acknowledge("orders", "loyalty")
    billing, loyalty, _ = inspection.books("orders")
    assert billing.unread in (None, 1)
    assert loyalty.unread == 0


def test_totals_of_all_groups_cost_one_round_trip(raw: Raw) -> None:
    """However many there are; a group in which nothing happened has none."""
    states.publish(raw, {"a": "1"})
    states.acknowledge()
    inspection.overview("orders")  # the server may not know the script yet
    before = raw.info("stats")["total_reads_processed"]
    (stream,) = inspection.overview("orders").streams
    # The other one is for asking this.
    assert raw.info("stats")["total_reads_processed"] == before + 2
    assert [each.totals for each in stream.groups] == [{"acknowledged": 1}, {}, {}]


def test_totals_are_plain_numbers(raw: Raw) -> None:
    """What became of a group's messages since ever, by name; nothing where nothing happened."""
    assert inspection.group_totals("orders", "billing") == {}
    states.publish(raw, {"a": "1"})
    states.acknowledge()
    assert inspection.group_totals("orders", "billing") == {"acknowledged": 1}


@pytest.mark.parametrize("bodies", [True, False])
@pytest.mark.parametrize("listing", [*LISTINGS, inspection.delayed])
def test_large_and_small_messages_are_each_listed_once(
    raw: Raw, monkeypatch: pytest.MonkeyPatch, listing: Callable[..., Any], bodies: bool
) -> None:
    """One command reads a part of a page where messages are large, also of retries that are due at once."""
    monkeypatch.setattr(lists, "BODIES", Extent(bodies=True, most_bytes=70_000))
    monkeypatch.setattr(lists, "HEADS", Extent(bodies=False, most_bytes=70_000))
    sizes = [100_000 if number % 7 in (0, 1, 5) else number for number in range(40)]
    states.publish(raw, *({"text": "x" * size, "n": str(number)} for number, size in enumerate(sizes)))
    states.bury("orders", "billing")
    states.retry("orders", "loyalty")
    states.deliver("orders", "analytics")
    for number, size in enumerate(sizes):
        states.delay({"text": "x" * size, "n": str(number)})
    for token in raw.zrange("{orders}:retry:loyalty", 0, -1):
        raw.zadd("{orders}:retry:loyalty", {token: 4_000_000_000_000})
    rows = all_pages(listing, count=6, bodies=bodies)
    assert len({row.message_id for row in rows}) == len(rows) == 40
    assert sorted(row.size > 100_000 for row in rows) == [False] * 23 + [True] * 17
    assert [row.message_id for row in rows] == [row.message_id for row in listing(count=100).rows]
    assert [row.payload for row in rows] == [row.payload if bodies else "" for row in listing(count=100).rows]
