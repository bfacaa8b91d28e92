"""The page of consumer groups: how each is doing, and pausing and resuming them."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

from django_redis_streams.operations import groups
from tests.support import states
from tests.support.proxies import Proxy

from . import site
from .test_html import Inline
from .test_lists import link, rows
from .test_verbs import hidden

PAGE = "/admin/django_redis_streams/consumergroup/"
KEY = "orders/billing"


def paused() -> bool:
    """Whether billing is."""
    return groups.is_paused("orders", "billing")


def turn(client: Client, what: str, **fields: Any) -> Any:
    """Post what one of the page's buttons does, to billing."""
    return site.post(client, PAGE, action=what, group=KEY, **fields)


def test_groups_are_listed_with_what_matters(raw: Any, browser: Client) -> None:
    """Whether each is paused, what waits for it, and who reads it."""
    states.publish(raw, {"a": "1"}, {"a": "2"})
    states.retry("orders", "billing")
    states.deliver("orders", "loyalty", consumer="box-1", count=1)
    groups.pause("orders", "analytics", by="ann")
    html = site.text(browser.get(PAGE))
    found = {row[0]: row[1:7] for row in rows(html)}
    assert found["billing"][:5] == ["not paused", "0", "0", "2", "1"]
    assert found["loyalty"][:5] == ["not paused", "0", "2", "0", "1"]
    assert found["analytics"][0].startswith("paused")
    assert found["analytics"][1:5] == ["2", "0", "0", "0"]


def test_what_was_acknowledged_and_what_repeated_is_counted(raw: Any, browser: Client) -> None:
    """Since ever, as in the books; 0 where nothing was."""
    states.publish(raw, {"a": "1"})
    raw.hset("{orders}:totals:billing", mapping={"acknowledged": 41, "repeated": 7})
    found = {row[0]: row[6:8] for row in rows(site.text(browser.get(PAGE)))}
    assert found["billing"] == ["41", "7"]
    assert found["loyalty"] == ["0", "0"]


def test_a_group_leads_to_its_messages(keys: dict[str, str], browser: Client) -> None:
    """To those of it alone, where somebody may see them."""
    html = site.text(browser.get(PAGE))
    assert link(html, "Show") == site.url("deadletter") + "?stream=orders&group=billing"
    assert len(rows(site.text(browser.get(site.url("deadletter") + "?stream=orders&group=loyalty")))) == 0
    html = site.text(site.browser(site.user("viewer", "view_consumergroup")).get(PAGE))
    assert "?stream=" not in html
    assert "<button" not in html.partition("<tbody>")[2]


def test_pausing_asks_first_then_does_tells_and_logs(browser: Client, root: User) -> None:
    """And so does resuming; each is on record with who did it."""
    for what, note, log in (
        ("pause", "The group orders:billing is pa", "Paused."),
        ("resume", "is resumed", "Resumed."),
    ):
        html = site.text(turn(browser, what))
        assert f"{what.capitalize()} orders:billing?" in html
        assert paused() is (what == "resume")
        assert hidden(html, "group") == [KEY]
        answer = turn(browser, what, confirmed="yes")
        assert (answer.status_code, answer.url) == (302, PAGE)
        assert note in site.told(answer)
        assert paused() is (what == "pause")
        entry = LogEntry.objects.first()
        assert (entry.user, entry.object_id, entry.object_repr) == (root, KEY, "orders:billing")
        assert entry.change_message == log
    html = site.text(browser.get(f"{PAGE}{quote(KEY)}/history/"))
    assert "Paused." in html
    assert "Resumed." in html


def test_what_is_done_already_is_told_and_not_on_record(browser: Client) -> None:
    """The second of two who pause changes nothing."""
    groups.pause("orders", "billing", by="ann")
    assert "was paused before" in site.told(turn(browser, "pause", confirmed="yes"))
    groups.resume("orders", "billing", by="ann")
    assert "wasn't paused" in site.told(turn(browser, "resume", confirmed="yes"))
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("who", "sees", "turns"),
    [
        (None, 302, 302),
        ((), 403, 403),
        (("pause_consumergroup",), 403, 403),
        (("view_consumergroup",), 200, 403),
        (("view_consumergroup", "pause_consumergroup"), 200, 302),
    ],
)
def test_pausing_needs_its_own_permission(who: tuple[str, ...] | None, sees: int, turns: int) -> None:
    """Seeing is another one; others get 403, or the login, and nothing changes."""
    client = site.browser(None if who is None else site.user("somebody", *who))
    assert client.get(PAGE).status_code == sees
    assert turn(client, "pause", confirmed="yes").status_code == turns
    assert paused() is (turns == 302 and who is not None)


def test_nothing_is_done_by_a_link_or_without_a_token(browser: Client) -> None:
    """A link, prefetched or followed, does nothing, and neither does a foreign form."""
    fields = {"action": "pause", "group": KEY, "confirmed": "yes"}
    assert browser.get(PAGE, fields).status_code == 200
    assert browser.post(PAGE, fields).status_code == 403
    for method in ("PUT", "PATCH", "DELETE"):
        token = site.token(browser)
        assert browser.generic(method, PAGE, headers={"X-CSRFToken": token}).status_code == 405
    assert not paused()


@pytest.mark.parametrize(
    "fields", [{}, {"action": "stop"}, {"group": "nonsense"}, {"action": "pause", "group": "a/b/c"}]
)
def test_a_forged_form_leads_back_to_the_list(browser: Client, fields: dict[str, str]) -> None:
    """There is nothing to ask about."""
    answer = site.post(browser, PAGE, **fields)
    assert (answer.status_code, answer.url) == (302, PAGE)


def test_a_group_that_is_not_declared_cannot_be_paused(browser: Client) -> None:
    """It says so."""
    answer = site.post(browser, PAGE, action="pause", group="orders/removed", confirmed="yes")
    assert "'removed'" in site.told(answer)
    assert not LogEntry.objects.exists()


def test_a_server_that_is_away_is_told(browser: Client, streams: Any) -> None:
    """On the page, and for what was posted: nobody knows what became of it."""
    streams(URL="unix:///nowhere/at.all")
    assert "nowhere" in site.text(browser.get(PAGE))
    assert "nowhere" in site.told(turn(browser, "pause", confirmed="yes"))


def test_a_lost_answer_is_told_and_on_record(browser: Client, streams: Any, proxy: Proxy) -> None:
    """It may be paused: both the user and the log are told so."""
    groups.pause("orders", "billing", by="ann")
    streams(URL=proxy.url)
    groups.is_paused("orders", "billing")
    proxy.lose_reply_to("HDEL")
    assert site.told(turn(browser, "resume", confirmed="yes"))
    assert "answer was lost" in LogEntry.objects.get().change_message


def test_the_pages_speak_the_users_language_and_hold_nothing_inline(browser: Client, settings: Any) -> None:
    """German is complete, and a strict content security policy breaks nothing."""
    settings.LANGUAGE_CODE = "de"
    with translation.override("de"):
        for html, said in (
            (site.text(browser.get(PAGE)), "nicht angehalten"),
            (site.text(turn(browser, "pause")), "orders:billing anhalten?"),
        ):
            assert said in html
            parser = Inline()
            parser.feed(html)
            assert parser.found == []


def test_without_streams_the_page_says_so(browser: Client, streams: Any) -> None:
    """There is nothing to be taken for a page that failed; a log entry's link leads here, too."""
    streams({})
    assert "There are no consumer groups." in site.text(browser.get(PAGE))
    assert browser.get(f"{PAGE}{quote(KEY)}/change/").url == PAGE
