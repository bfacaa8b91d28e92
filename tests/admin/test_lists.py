"""The lists: what they show, how they are narrowed down and paged, and what they cost."""

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.test import Client
from django.utils import timezone, translation

from django_redis_streams import inspection
from django_redis_streams.admin.message_admin import MessageAdmin
from django_redis_streams.inspection import paging
from django_redis_streams.outcomes import Failure, Reason
from tests.support import states

from . import site


def rows(html: str) -> list[list[str]]:
    """The texts of the cells of each row of a list, without the checkbox."""
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    each_row = re.compile(r"<tr>(.*?)</tr>", re.DOTALL).findall(body)
    cells = [re.compile(r"<t[dh][^>]*>(.*?)</t[dh]>", re.DOTALL).findall(row) for row in each_row]
    return [[unescape(re.sub(r"<[^>]+>", " ", cell)).strip() for cell in row[1:]] for row in cells]


def ids(html: str) -> list[str]:
    """The messages of a list, in order."""
    return [row[0] for row in rows(html)]


def link(html: str, text: str) -> str:
    """Where a link leads; "" where there is none."""
    found = re.search(rf'<a href="([^"]*)"[^>]*>{text}</a>', html)
    return unescape(found[1]) if found else ""


def fill(raw: Any, count: int) -> None:
    """Entries that nobody of ours wrote, in the dead letter queue."""
    with raw.pipeline() as pipe:
        for number in range(1, count + 1):
            pipe.xadd("{orders}:dlq", {"n": str(number)}, id=f"{number}-0")
        pipe.execute()


def test_dead_letters_are_listed_with_what_matters(raw: Any, browser: Client) -> None:
    """Message, stream, group, type, attempts, age, reason and error."""
    (entry_id,) = states.publish(raw, {"type": "order.created"})
    states.bury()
    ((message, stream, group, kind, attempts, age, error),) = rows(site.text(browser.get(site.url("deadletter"))))
    assert (message, stream, group, attempts) == (f"orders/{entry_id}", "orders", "billing", "1")
    assert kind.replace(" ", "") == "order.created"
    assert re.fullmatch(r"\d+ seconds?", age)
    assert error == "retries exhausted  ZeroDivisionError: division by zero"


def test_retrying_messages_are_listed_with_what_matters(raw: Any, browser: Client) -> None:
    """When each is run again, the next first."""
    for delay in (3_700, 61):
        states.publish(raw, {"type": "order.created"})
        states.retry(delay=delay)
    found = rows(site.text(browser.get(site.url("retryingmessage"))))
    assert [row[5].replace("\xa0", " ") for row in found] == ["in 1 minute", "in 1 hour"]
    assert [row[6] for row in found] == ["ZeroDivisionError: division by zero"] * 2


def test_delayed_messages_are_listed_with_what_matters(raw: Any, browser: Client, streams: Any) -> None:
    """When each is published and where, the next first, of whatever stream; a search looks into them."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}, "mail": {}})
    later = states.delay({"n": 1}, type="order.due", lane="high", seconds=3_700)
    sooner = states.delay({"to": "ann"}, stream="mail", seconds=61)
    found = rows(site.text(browser.get(site.url("delayedmessage"))))
    assert [[cell.replace("\xa0", " ").replace(" . ", ".") for cell in row] for row in found] == [
        [sooner, "mail", "default", "-", "in 1 minute"],
        [later, "orders", "high", "order. due", "in 1 hour"],
    ]
    assert ids(site.text(browser.get(site.url("delayedmessage"), {"q": "ann"}))) == [sooner]
    assert ids(site.text(browser.get(site.url("delayedmessage"), {"stream": "orders"}))) == [later]


def test_delayed_messages_are_paged(raw: Any, browser: Client) -> None:
    """By a cursor, each once; those that are due in the same moment, too."""
    wanted = [states.delay({"n": number}) for number in range(120)]
    raw.zadd("{orders}:delayed", dict.fromkeys(wanted, 4e12))
    seen, path = [], site.url("delayedmessage")
    while path:
        html = site.text(browser.get(path))
        seen += ids(html)
        path = (query := link(html, "Next page")) and site.url("delayedmessage") + query
    assert seen == sorted(wanted)


def test_a_delayed_message_that_somebody_spoiled_is_shown_by_its_token(raw: Any, browser: Client) -> None:
    """Whatever a foreign hand wrote there, the page is shown."""
    raw.zadd("{orders}:delayed", {"no entry": 4e12, "rubbish": 4e12, "odd": 4e12})
    raw.hset("{orders}:delayed:entries", mapping={"rubbish": "x", "odd": b"\x92\xa7default\xa1a"})
    assert ids(site.text(browser.get(site.url("delayedmessage")))) == ["no entry", "odd", "rubbish"]
    for token in ("no%20entry", "odd", "rubbish"):
        html = site.text(browser.get(site.url("delayedmessage", "change", quote(f"orders/{token}"))))
        assert "Its body isn't there any more" in unescape(html)


def test_pending_messages_are_listed_with_what_matters(keys: dict[str, str], browser: Client) -> None:
    """Who holds each, since when it is silent, and what that means."""
    ((_, stream, group, _, consumer, deliveries, silent, state),) = rows(
        site.text(browser.get(site.url("pendingmessage")))
    )
    assert (stream, group, consumer.replace(" ", ""), deliveries) == ("orders", "analytics", "box-1", "1")
    assert (silent.replace("\xa0", " "), state) == ("1 minute", "stale")


@pytest.mark.parametrize("model", site.MODELS)
def test_an_empty_list_says_so(browser: Client, model: str) -> None:
    """There is nothing to be taken for a page that failed."""
    assert "There are no" in site.text(browser.get(site.url(model)))


@pytest.mark.parametrize("model", site.MODELS)
def test_each_row_leads_to_its_page(keys: dict[str, str], browser: Client, model: str) -> None:
    """The link of a row is the message's page."""
    html = site.text(browser.get(site.url(model)))
    (path,) = re.findall(r'<th class="field-message_id[^"]*"><a href="([^"]*)"', html)
    assert site.text(browser.get(unescape(path)))


def test_filters_are_offered_and_narrow_down(keys: dict[str, str], raw: Any, browser: Client, streams: Any) -> None:
    """By stream, group and reason; a group that isn't declared any more is offered, too."""
    streams({"orders": {"GROUPS": {"billing": {}, "loyalty": {}}}, "mail": {}})
    raw.hset("{orders}:groups", "removed", "0")
    states.publish(raw, {"a": "1"})
    states.bury("orders", "loyalty", reason=Reason.REJECTED)
    html = site.text(browser.get(site.url("deadletter")))
    assert len(rows(html)) == 2
    for choice in ("orders", "mail", "billing", "removed", "rejected", "foreign"):
        assert link(html, choice), choice
    assert {row[2] for row in rows(site.text(browser.get(site.url("deadletter") + link(html, "loyalty"))))} == {
        "loyalty"
    }
    assert len(rows(site.text(browser.get(site.url("deadletter") + link(html, "retries exhausted"))))) == 1
    assert rows(site.text(browser.get(site.url("deadletter") + link(html, "mail")))) == []
    assert rows(site.text(browser.get(site.url("deadletter") + link(html, "foreign")))) == []


def test_a_filter_begins_at_the_first_page(raw: Any, browser: Client) -> None:
    """The place in another list means nothing in this one."""
    fill(raw, 120)
    html = site.text(browser.get(site.url("deadletter")))
    second = site.text(browser.get(site.url("deadletter") + link(html, "Next page")))
    assert "after" in link(html, "Next page")
    assert "after" not in link(second, "billing")
    assert 'name="after"' not in second


def test_pages_go_on_to_the_end_and_back_to_the_first(raw: Any, browser: Client) -> None:
    """Each message is on one page, in order; the last page leads to the first."""
    fill(raw, 120)
    html = site.text(browser.get(site.url("deadletter")))
    assert "First page" not in html
    seen = ids(html)
    while path := link(html, "Next page"):
        html = site.text(browser.get(site.url("deadletter") + path))
        seen += ids(html)
    assert seen == [f"{{orders}}:dlq/{number}-0" for number in range(120, 0, -1)]
    assert "20 of 120 dead letters" in html
    assert ids(site.text(browser.get(site.url("deadletter") + link(html, "First page"))))[0] == "{orders}:dlq/120-0"


def test_a_search_is_kept_from_page_to_page(raw: Any, browser: Client) -> None:
    """Words and filters stay when a page goes on."""
    fill(raw, 200)
    html = site.text(browser.get(site.url("deadletter"), {"q": "1", "reason": "foreign"}))
    following = link(html, "Next page")
    assert "q=1" in following
    assert "reason=foreign" in following
    second = site.text(browser.get(site.url("deadletter") + following))
    assert all("1" in each for each in ids(second))
    assert 'value="1"' in second


def test_a_search_says_how_far_it_got(raw: Any, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searched so many of so many, found so many; and there is a way on."""
    monkeypatch.setattr(paging, "MOST_SEARCHED", 100)
    fill(raw, 250)
    html = site.text(browser.get(site.url("deadletter"), {"q": "7-0"}))
    assert "Searched 100 of 250: 10 found." in html
    html = site.text(browser.get(site.url("deadletter") + link(html, "Search on from here")))
    html = site.text(browser.get(site.url("deadletter") + link(html, "Search on from here")))
    assert "Searched 50 of 250: 5 found." in html
    assert not link(html, "Search on from here")


def test_a_list_asks_the_database_for_the_user_alone(
    keys: dict[str, str], browser: Client, django_assert_num_queries: Any
) -> None:
    """Session and user; nothing about messages."""
    for model in site.MODELS:
        with django_assert_num_queries(2):
            site.text(browser.get(site.url(model)))
        with django_assert_num_queries(2):
            site.text(browser.get(site.url(model, "change", keys[model].replace("/", "_2F").replace("%", "_25"))))


def test_a_list_asks_the_server_little(raw: Any, browser: Client) -> None:
    """A page of a long list is a few commands, not one for each row."""
    fill(raw, 2_000)
    site.text(browser.get(site.url("deadletter")))
    before = raw.info("stats")["total_commands_processed"]
    site.text(browser.get(site.url("deadletter")))
    assert raw.info("stats")["total_commands_processed"] - before <= 11


@pytest.mark.parametrize("model", site.MODELS)
def test_pages_are_as_long_as_the_admin_says(
    keys: dict[str, str], raw: Any, browser: Client, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """`list_per_page` of a project's own subclass is kept to."""
    monkeypatch.setattr(MessageAdmin, "list_per_page", 2)
    states.publish(raw, *({"n": str(number)} for number in range(3)))
    states.bury("orders", "billing")
    states.retry("orders", "loyalty")
    states.deliver("orders", "analytics")
    states.delay({"n": 2})
    states.delay({"n": 3})
    assert len(rows(site.text(browser.get(site.url(model))))) == 2


def test_times_are_in_the_readers_zone(keys: dict[str, str], browser: Client, settings: Any) -> None:
    """The exact time beside an age is told in the current time zone, named."""
    for zone, name in (("Asia/Tokyo", "JST"), ("UTC", "UTC")):
        with timezone.override(zone):
            (title,) = re.findall(r'<time [^>]*title="([^"]*)"', site.text(browser.get(site.url("deadletter"))))
            moment = timezone.localtime(inspection.dead_letters().rows[0].dead_lettered_at)
        assert title.endswith(name)
        assert f"{moment:%H:%M:%S}" in title
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Tokyo"
    assert "JST" in site.text(browser.get(site.url("deadletter")))


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_no_time_is_beyond_what_can_be_shown(raw: Any, browser: Client, zone: str) -> None:
    """Ids that anybody may give, at both ends, in time zones on both sides."""
    raw.xadd("{orders}:dlq", {"a": "1"}, id="0-1")
    raw.xadd("{orders}:dlq", {"a": "1"}, id="18446744073709551615-1")
    raw.zadd("{orders}:retry:billing", {"orders/1-1": "inf", "orders/1-2": "-inf"})
    with timezone.override(zone):
        assert len(rows(site.text(browser.get(site.url("deadletter"))))) == 2
        assert len(rows(site.text(browser.get(site.url("retryingmessage"))))) == 2


def test_a_group_that_no_url_can_name_is_left_out_of_the_filter(raw: Any, browser: Client) -> None:
    """What it holds is listed all the same."""
    raw.hset("{orders}:groups", b"\xff", "0")
    raw.zadd(b"{orders}:retry:\xff", {"orders/1-1": 5})
    assert [row[2] for row in rows(site.text(browser.get(site.url("retryingmessage"))))] == [r"\xff"]


def test_lists_are_shown_in_the_readers_language(keys: dict[str, str], browser: Client, settings: Any) -> None:
    """Columns, filters, actions and reasons are translated."""
    settings.LANGUAGE_CODE = "de"
    with translation.override("de"):
        html = site.text(browser.get(site.url("deadletter")))
    for german in ("Unzustellbare Nachrichten", "Versuche", "nicht mehr wiederholt", "erneut zustellen"):
        assert german in html, german


def test_any_error_fits_into_a_line(raw: Any, browser: Client) -> None:
    """A long error of many lines is cut in the list."""
    states.publish(raw, {"a": "1"})
    states.bury(failure=Failure(error="x" * 10_000 + "\nsecond line"))
    assert len(rows(site.text(browser.get(site.url("deadletter"))))[0][6]) < 200
