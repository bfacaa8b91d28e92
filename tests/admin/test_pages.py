"""The page of a message: all that is known, shown as it is, whatever it is; and its history."""

import json
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.test import Client

from django_redis_streams import connections, inspection
from django_redis_streams.operations import dead_letters
from django_redis_streams.wire import RedeliveryMetadata, attach_metadata
from tests.support import states

from . import site


def page(browser: Client, model: str, key: str) -> str:
    """A message's page."""
    return site.text(browser.get(site.url(model, "change", quote(key))))


def newest(browser: Client) -> str:
    """The page of the newest dead letter."""
    return page(browser, "deadletter", f"orders/{inspection.dead_letters().rows[0].entry_id}")


def bury_fields(*fields: str) -> None:
    """A dead letter of an entry with these fields, bytes and all."""
    connections.get().call("XADD", "orders", "*", *fields)
    states.bury()


def test_a_dead_letters_page_tells_all_that_is_known(keys: dict[str, str], browser: Client) -> None:
    """Reason, error, traceback, handler, payload, raw fields and where it came from."""
    html = page(browser, "deadletter", keys["deadletter"])
    (row,) = inspection.dead_letters().rows
    for known in (
        "retries exhausted", "ZeroDivisionError: division by zero", "shop.stream_handlers.charge", "billing",
        "&quot;order_id&quot;: &quot;ord_123&quot;", "Traceback (most recent call last)", "order.created",
        f"orders {row.published_id}", row.entry_id,
    ):  # fmt: skip
        assert known in html, known


def test_a_retrying_messages_page_tells_when_it_is_due(keys: dict[str, str], browser: Client) -> None:
    """With the failure of its last run."""
    html = page(browser, "retryingmessage", keys["retryingmessage"])
    assert "Due" in html
    assert "ZeroDivisionError" in html


def test_a_delayed_messages_page_tells_when_it_is_due(keys: dict[str, str], browser: Client) -> None:
    """Its type and payload, and nothing of runs that it never had."""
    html = page(browser, "delayedmessage", keys["delayedmessage"])
    for known in ("Due", "order.due", "&quot;n&quot;: 1", "Publish now"):
        assert known in html, known
    assert "Attempts" not in html


def test_a_pending_messages_page_tells_who_holds_it(keys: dict[str, str], browser: Client) -> None:
    """Its consumer, and that it is stale."""
    html = page(browser, "pendingmessage", keys["pendingmessage"])
    for known in ("box-1", "stale", "Release"):
        assert known in html, known


def test_a_replayed_message_tells_by_whom(keys: dict[str, str], browser: Client) -> None:
    """A dead letter that was replayed before says how often, and who did it last."""
    dead_letters.replay("orders", [keys["deadletter"].partition("/")[2]], by="ann")
    states.bury()
    assert "1, by ann" in newest(browser)


@pytest.mark.parametrize(
    "data",
    [
        "</pre><script>alert(1)</script>",
        '{"a": "</script><img src=x onerror=alert(1)>"}',
        '"\\ud800 \\u202e"',
        "[" * 50_000 + "]" * 50_000,
        "1" * 5_000,
        '{"a": NaN}',
        "\udcff\x00\x1b[31m\u202e\u2028",
        "x" * 300_000,
        "",
    ],
)
@pytest.mark.parametrize("name", ["data", "<b>data</b>", "\udcff\u202e"])
def test_any_payload_is_shown_escaped(browser: Client, data: str, name: str) -> None:
    """Markup is text, half characters and marks that turn the direction are written out."""
    bury_fields("id", "00000000-0000-0000-0000-000000000000", name, data)
    for html in (newest(browser), site.text(browser.get(site.url("deadletter")))):
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert "<b>data" not in html
        assert not set(html) & set("\x00\x1b\u202e\u2028")
        assert len(html) < 500_000


@pytest.mark.parametrize("field", ["id", "type", "group", "handler", "reason", "error", "traceback", "lane"])
def test_any_metadata_is_shown_escaped(raw: Any, browser: Client, field: str) -> None:
    """What somebody else wrote into the dead letter queue, too."""
    nasty = "<script>alert(1)</script>\x00\x1b\u202e\ud800\u2029"
    known: Any = {"id": "m", "source": "orders", "entry": "1-0", "replays": 1, field: nasty}
    fields = attach_metadata(RedeliveryMetadata(**known), ["a", "1"])
    raw.xadd("{orders}:dlq", dict(zip(fields[::2], fields[1::2], strict=True)))
    for html in (newest(browser), site.text(browser.get(site.url("deadletter")))):
        assert "<script>alert" not in html
        assert not set(html) & set("\x00\x1b\u202e\u2029")
    assert "\\u202e" in html or field in ("handler", "traceback", "lane")


def test_a_long_payload_says_that_it_is_cut(browser: Client) -> None:
    """How much isn't shown is told."""
    bury_fields("data", "x" * 300_000)
    assert "characters more)" in newest(browser)


def test_raw_fields_are_in_their_order_duplicates_too(browser: Client) -> None:
    """As any client sees them."""
    bury_fields("b", "1", "a", "2", "b", "3")
    html = newest(browser)
    places = [html.index(f"<code>{value}</code>") for value in ("1", "2", "3")]
    assert places == sorted(places)


def test_bytes_that_are_not_utf8_are_written_out(browser: Client) -> None:
    """As Python would write them."""
    bury_fields("a", "\udcff\udc80ü\x00")
    assert r"<code>\xff\x80ü\x00</code>" in newest(browser)


def test_an_envelope_is_shown_as_indented_json(browser: Client) -> None:
    """As it would be at the handler."""
    bury_fields("id", "00000000-0000-0000-0000-000000000000", "data", json.dumps({"größe": [1, 2]}))
    assert "{\n  &quot;größe&quot;: [\n    1,\n    2\n  ]\n}" in newest(browser)


def test_a_message_without_a_body_has_a_page(keys: dict[str, str], raw: Any, browser: Client) -> None:
    """It says that nobody can run it."""
    raw.xdel("orders", keys["pendingmessage"].rpartition("/")[2])
    assert "Its body isn't there any more" in page(browser, "pendingmessage", keys["pendingmessage"])


@pytest.mark.parametrize("model", site.MODELS)
def test_a_message_that_is_gone_leads_back_to_the_list(keys: dict[str, str], browser: Client, model: str) -> None:
    """With a word about it, though nobody did anything to it."""
    response = browser.get(site.url(model, "change", quote(keys[model].replace("0", "1"))))
    assert (response.status_code, response.url) == (302, site.url(model))
    assert "isn't there any more" in site.told(response)


def test_the_history_of_a_message_outlives_it(keys: dict[str, str], browser: Client) -> None:
    """Who replayed or discarded it is on its history, to which its page leads when it is gone."""
    key = keys["deadletter"]
    site.post(browser, site.url("deadletter"), action="replay", **{site.SELECTED: key}, confirmed="yes")
    response = browser.get(site.url("deadletter", "change", quote(key)))
    assert response.url == site.url("deadletter", "history", quote(key))
    html = site.text(browser.get(response.url))
    assert "root" in html
    assert "Replayed." in html


def test_what_names_no_message_has_no_history(browser: Client) -> None:
    """No text that isn't a key goes to the database: PostgreSQL would refuse some."""
    for key in ("nonsense", "orders/1-1/x", "a\0/b", "orders/%ff%2f/1-1"):
        assert browser.get(site.url("deadletter", "history", quote(key))).status_code == 302


def test_a_history_needs_no_server(keys: dict[str, str], browser: Client, streams: Any) -> None:
    """It is in the database alone."""
    streams(URL="unix:///nowhere/at.all")
    site.text(browser.get(site.url("deadletter", "history", quote(keys["deadletter"]))))


@pytest.mark.parametrize(
    ("field", "shown"), [("removed", "Its group &#x27;removed&#x27; isn&#x27;t declared"), ("", "isn&#x27;t declared")]
)
def test_a_dead_letter_that_cannot_go_back_says_why(raw: Any, browser: Client, field: str, shown: str) -> None:
    """Instead of a button that wouldn't work."""
    fields = attach_metadata(RedeliveryMetadata(id="m", source="orders", entry="1-0", group=field), ["a", "1"])
    raw.xadd("{orders}:dlq", dict(zip(fields[::2], fields[1::2], strict=True)))
    html = newest(browser)
    assert shown in html
    assert 'value="replay"' not in html
    assert 'value="discard"' in html
