"""What is done from the admin: asked, confirmed, done once, told, and on record."""

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.test import Client
from django.utils import translation

from django_redis_streams import connections, inspection
from django_redis_streams.admin import message_actions
from django_redis_streams.admin.listing import Listing
from django_redis_streams.admin.sources import DEAD_LETTERS
from django_redis_streams.store.scripts import script
from django_redis_streams.wire import split_metadata
from tests.support import states
from tests.support.proxies import Proxy

from . import site

DONE = {
    ("deadletter", "replay"): ("1 dead letter was replayed.", "Replayed.", CHANGE),
    ("deadletter", "discard"): ("1 dead letter was discarded.", "Discarded.", DELETION),
    ("retryingmessage", "discard"): ("1 retrying message was discarded.", "Discarded.", DELETION),
    ("delayedmessage", "publish"): ("1 delayed message was published.", "Published before it was due.", CHANGE),
    ("delayedmessage", "discard"): ("1 delayed message was discarded.", "Discarded.", DELETION),
    ("pendingmessage", "release"): ("1 pending message was released.", "Released.", CHANGE),
}


def dead(raw: Any, count: int, group: str = "billing") -> list[str]:
    """The keys of new dead letters, newest first."""
    states.publish(raw, *({"n": str(number)} for number in range(count)))
    states.bury("orders", group)
    return [f"orders/{row.entry_id}" for row in inspection.dead_letters(group=group, count=1_000).rows]


def hidden(html: str, name: str) -> list[str]:
    """The values of the hidden fields of that name."""
    return [unescape(value) for value in re.findall(rf'<input type="hidden" name="{name}" value="([^"]*)"', html)]


@pytest.mark.parametrize(("model", "verb"), DONE)
def test_a_verb_asks_first_then_does_tells_and_logs(
    keys: dict[str, str], browser: Client, root: Any, model: str, verb: str
) -> None:
    """From the button on a message's page to the log entry with who did it."""
    note, log, flag = DONE[model, verb]
    html = site.text(browser.get(site.url(model, "change", keys[model].replace("%", "_25").replace("/", "_2F"))))
    assert verb in hidden(html, "action")
    question = site.post(browser, site.url(model), action=verb, **{site.SELECTED: keys[model]})
    html = site.text(question)
    assert not LogEntry.objects.exists()
    assert hidden(html, site.SELECTED) == [keys[model]]
    fields = {name: hidden(html, name) for name in ("action", site.SELECTED, "confirmed")}
    answer = site.post(browser, site.url(model), **fields)
    assert (answer.status_code, answer.url) == (302, site.url(model))
    assert note in site.told(answer)
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.change_message, entry.action_flag) == (root, keys[model], log, flag)
    assert "orders" in entry.object_repr


def test_a_replay_remembers_who_did_it(keys: dict[str, str], browser: Client) -> None:
    """On the server, too: the message says by whom."""
    site.post(browser, site.url("deadletter"), action="replay", **{site.SELECTED: keys["deadletter"]}, confirmed="yes")
    ((_, fields),) = connections.get().call("XRANGE", "{orders}:redelivery:billing", "-", "+")
    carried = split_metadata(fields)
    assert carried is not None
    assert carried[0].replayed_by == "root"


def test_selected_messages_are_counted_before_anything_is_done(raw: Any, browser: Client) -> None:
    """The question tells how many, of which groups, and names the first of them."""
    some = [*dead(raw, 25), *dead(raw, 3, "loyalty")]
    html = site.text(site.post(browser, site.url("deadletter"), action="discard", index="0", **{site.SELECTED: some}))
    assert "Discard 53 dead letters?" in html  # loyalty had missed the first 25
    assert "<td>orders</td><td>billing</td><td>25</td>" in html
    assert "<td>orders</td><td>loyalty</td><td>28</td>" in html
    assert "and 33 more" in html
    assert raw.xlen("{orders}:dlq") == 53


def test_many_are_done_at_once(raw: Any, browser: Client) -> None:
    """Each with a log entry of its own."""
    some = dead(raw, 30)
    answer = site.post(browser, site.url("deadletter"), action="replay", confirmed="yes", **{site.SELECTED: some})
    assert "30 dead letters were replayed." in site.told(answer)
    assert set(LogEntry.objects.values_list("object_id", flat=True)) == set(some)


def test_those_that_cannot_be_are_left_and_told(raw: Any, browser: Client) -> None:
    """The question says what will be left, the answer what was; the rest is done."""
    good, foreign = dead(raw, 1), f"orders/{raw.xadd('{orders}:dlq', {'a': '1'})}"
    fields = {"action": "replay", site.SELECTED: [*good, foreign, "orders/1-1", "nonsense"]}
    question = site.post(browser, site.url("deadletter"), **fields)
    html = site.text(question)
    assert "Replay 1 dead letter?" in html
    assert hidden(html, site.SELECTED) == good
    assert "was not written by this package" in html
    assert "2 messages aren&#x27;t there any more" in html
    site.post(browser, site.url("deadletter"), **fields, confirmed="yes")
    assert [entry.object_id for entry in LogEntry.objects.all()] == good
    assert raw.xlen("{orders}:dlq") == 1


def test_when_nothing_can_be_done_it_says_why(raw: Any, browser: Client) -> None:
    """Back to the list, with the reason, and nothing on record."""
    foreign = f"orders/{raw.xadd('{orders}:dlq', {'a': '1'})}"
    answer = site.post(browser, site.url("deadletter"), action="replay", **{site.SELECTED: foreign})
    assert answer.status_code == 302
    assert "was not written by this package" in site.told(answer)
    assert not LogEntry.objects.exists()


def test_a_second_press_finds_it_gone(keys: dict[str, str], raw: Any, browser: Client) -> None:
    """The second of two who confirm is told, and nothing is done twice."""
    fields = {"action": "replay", site.SELECTED: keys["deadletter"], "confirmed": "yes"}
    site.post(browser, site.url("deadletter"), **fields)
    answer = site.post(browser, site.url("deadletter"), **fields)
    assert "isn't there any more" in site.told(answer)
    assert LogEntry.objects.count() == raw.xlen("{orders}:redelivery:billing") == 1


def test_a_message_that_is_held_is_not_released(keys: dict[str, str], raw: Any, browser: Client) -> None:
    """Its consumer was heard of within CLAIM_IDLE."""
    entry_id = keys["pendingmessage"].rpartition("/")[2]
    raw.xclaim("orders", "analytics", "box-1", 0, [entry_id], idle=5_000, justid=True)
    fields = {"action": "release", site.SELECTED: keys["pendingmessage"], "confirmed": "yes"}
    answer = site.post(browser, site.url("pendingmessage"), **fields)
    assert "was active within CLAIM_IDLE" in site.told(answer)
    assert raw.xpending_range("orders", "analytics", "-", "+", 1)[0]["consumer"] == "box-1"


def test_all_across_pages_is_bounded_and_says_so(raw: Any, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many from this page on, which the question names: no others are done, whatever comes meanwhile."""
    monkeypatch.setattr(Listing, "most", 70)
    some = dead(raw, 100)
    assert "Select up to 70 from here on" in site.text(browser.get(site.url("deadletter")))
    fields = {"action": "discard", "index": "0", "select_across": "1", site.SELECTED: some[0]}
    html = site.text(site.post(browser, site.url("deadletter"), **fields))
    assert "Discard 70 dead letters?" in html
    assert "at most" in html
    chosen = hidden(html, site.SELECTED)
    assert len(chosen) == 70
    dead(raw, 1)
    site.post(browser, site.url("deadletter"), action="discard", confirmed="yes", **{site.SELECTED: chosen})
    assert raw.xlen("{orders}:dlq") == 31


def test_across_pages_keeps_to_the_filters(raw: Any, browser: Client) -> None:
    """What is filtered out isn't taken along."""
    dead(raw, 3)
    some = dead(raw, 2, "loyalty")
    fields = {"action": "discard", "index": "0", "select_across": "1", site.SELECTED: some[0]}
    html = site.text(site.post(browser, site.url("deadletter") + "?group=loyalty", **fields))
    assert set(hidden(html, site.SELECTED)) == set(some)


def test_no_more_are_taken_than_an_action_takes(raw: Any, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forged form of more is cut."""
    monkeypatch.setattr(Listing, "most", 5)
    html = site.text(site.post(browser, site.url("deadletter"), action="discard", **{site.SELECTED: dead(raw, 9)}))
    assert len(hidden(html, site.SELECTED)) == 5


def test_a_lost_answer_is_told_and_on_record(
    keys: dict[str, str], raw: Any, browser: Client, streams: Any, proxy: Proxy
) -> None:
    """It may have been replayed: both the user and the log are told so."""
    keys_of_more = dead(raw, 1)
    site.post(browser, site.url("deadletter"), action="replay", confirmed="yes", **{site.SELECTED: keys["deadletter"]})
    LogEntry.objects.all().delete()
    streams(URL=proxy.url)
    proxy.lose_reply_to(script("replay").digest)
    answer = site.post(
        browser, site.url("deadletter"), action="replay", confirmed="yes", **{site.SELECTED: keys_of_more[0]}
    )
    assert "answer for 1 message was lost" in site.told(answer)
    assert "answer was lost" in LogEntry.objects.get().change_message


def test_a_stream_that_is_gone_from_the_settings_refuses_its_own_alone(keys: dict[str, str], streams: Any) -> None:
    """What fails for one stream holds up no other."""
    streams({"orders": {"GROUPS": {"billing": {}}}, "mail": {}})
    ours, other = DEAD_LETTERS.instance(inspection.dead_letters().rows[0]), DEAD_LETTERS.model(id="mail/1-1")
    other.row = replace(ours.row, stream="elsewhere")
    result = message_actions.REPLAY.carry_out([other, ours], "ann")
    assert result.done == [ours]
    assert [(message, "isn't declared" in why) for message, why in result.refused] == [(other, True)]


def test_verbs_speak_the_users_language(keys: dict[str, str], browser: Client, settings: Any) -> None:
    """Question, note and log entry."""
    settings.LANGUAGE_CODE = "de"
    with translation.override("de"):
        fields = {"action": "replay", site.SELECTED: keys["deadletter"]}
        html = site.text(site.post(browser, site.url("deadletter"), **fields))
        assert "erneut zustellen?" in html
        answer = site.post(browser, site.url("deadletter"), **fields, confirmed="yes")
        assert "erneut zugestellt" in site.told(answer)
