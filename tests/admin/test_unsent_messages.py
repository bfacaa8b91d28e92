"""The list of unsent messages: what it shows, what can be done there, and that nothing brings it down."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override

from django_redis_streams.admin.message_actions import MessageAction
from django_redis_streams.admin.unsent_messages import DISCARD_UNSENT, SEND
from django_redis_streams.outbox.models import OutboxMessage
from tests.support import unsent

from . import site
from .test_html import Inline
from .test_nasty import FINE, NAMES, NASTY

VERBS = ("send", "discard")


def url(view: str = "changelist", *keys: str) -> str:
    """Where a page is; keys as they are, not quoted."""
    return reverse(f"admin:django_redis_streams_outbox_outboxmessage_{view}", args=keys)


def key(row: OutboxMessage, database: str = "default") -> str:
    """A row's key in the admin."""
    return f"{database}/{row.pk}"


def user(*permissions: str) -> User:
    """A member of staff with these permissions on unsent messages alone."""
    made = User.objects.create_user("ann", is_staff=True)
    names = [f"{each}_outboxmessage" for each in permissions]
    found = Permission.objects.filter(content_type__app_label="django_redis_streams_outbox", codename__in=names)
    assert len(found) == len(names)
    made.user_permissions.set(found)
    return made


def listed(browser: Client, **query: str) -> list[OutboxMessage]:
    """The rows on the list, in its order."""
    response = browser.get(url(), query)
    assert response.status_code == 200
    return [each.row.pk for each in response.context["cl"].result_list]


def do(browser: Client, verb: str, *rows: OutboxMessage) -> Any:
    """Confirm a verb for these rows."""
    fields = {"action": verb, site.SELECTED: [key(each) for each in rows], "confirmed": "yes"}
    response = site.post(browser, url(), **fields)
    assert response.status_code == 302
    return response


def page(browser: Client, row: OutboxMessage) -> str:
    """A row's page."""
    return site.text(browser.get(url("change", quote(key(row)))))


def test_the_list_tells_how_each_message_stands(browser: Client) -> None:
    """One is late, one was refused, one is being sent; what is sent and kept isn't among them."""
    late = unsent.row(key="customer-7", ago=95, next_try=-90)
    refused = unsent.refused("MISCONF can't persist")
    sending = unsent.sending()
    unsent.sent()
    assert listed(browser) == [late.pk, refused.pk, sending.pk]
    text = site.text(browser.get(url()))
    for told in (
        late.message_id, "overdue for 1", "customer-7", "<wbr>created", "MISCONF can&#x27;t persist", "in 29 seconds",
        "sending", "3 of 3 unsent messages",
    ):  # fmt: skip
        assert told in text, told
    assert "(default)" not in text
    cells = re.findall(r'class="field-(state|next_try)">(.*?)</td>', text)
    assert [cell for name, cell in cells if name == "state"] == ["waiting", "refused<br>2 attempts", "sending"]
    assert cells[-1] == ("next_try", "-")


def test_the_list_shows_what_the_server_said_to_its_end(browser: Client) -> None:
    """Also of a stream with a long name, which is named before that."""
    said = f"The server refuses to append to the stream {'streams' * 15!r}: MISCONF can't persist on disk"
    unsent.refused(said)
    assert escape(said) in site.text(browser.get(url()))


def test_the_filters_select(browser: Client) -> None:
    """By state, by stream, and by words."""
    waits, refused = unsent.row({"city": "Köln"}), unsent.refused("OOM")
    kept, other = unsent.sent(), unsent.row(stream="tomorrows")
    unsent.sending()
    held = unsent.held()
    assert listed(browser, standing="waiting") == [waits.pk, other.pk, held.pk]
    assert "Waits for an earlier message of its key." in site.text(browser.get(url(), {"standing": "waiting"}))
    assert listed(browser, standing="refused") == [refused.pk]
    assert listed(browser, standing="sent") == [kept.pk]
    assert listed(browser, stream="tomorrows") == [other.pk]
    assert listed(browser, q="köln") == [waits.pk]
    assert listed(browser, q="oom") == [refused.pk]
    assert "1 of 1 unsent message\n" in site.text(browser.get(url(), {"standing": "sent"}))


def test_the_list_has_pages(browser: Client) -> None:
    """Each begins behind the last row of the one before."""
    rows = [unsent.row().pk for _ in range(120)]
    found, query = [], ""
    for _ in range(3):
        changelist = browser.get(url() + query).context["cl"]
        found += [each.row.pk for each in changelist.result_list]
        query = changelist.next_url
    assert (found, query) == (rows, "")


@pytest.mark.parametrize("count", [1, 50])
def test_a_list_takes_as_many_queries_whatever_its_length(
    browser: Client, django_assert_num_queries: Callable[..., Any], count: int
) -> None:
    """Session, user, count, lengths, rows; and the savepoint within a test's transaction, set and released."""
    for _ in range(count):
        unsent.row()
    with django_assert_num_queries(7):
        browser.get(url())


def test_a_page_tells_all_that_is_known(browser: Client) -> None:
    """State, error, attempts, times, where it goes, payload and raw fields."""
    html = page(browser, unsent.refused("OOM command not allowed", key="customer-7", delay_ms=5_000, lane="high"))
    for told in (
        "refused: the server didn&#x27;t take it", "OOM command not allowed", "Next try", "Due", "customer-7", "high",
        "order.created", "&quot;n&quot;: 1", "<code>data</code>", "Send now", "Discard",
    ):  # fmt: skip
        assert told in html, told


def test_what_is_being_sent_or_sent_offers_no_verb_but_says_why(browser: Client) -> None:
    """A message that its publisher sends right now, and one that is on the server."""
    for row, why in ((unsent.sending(), "being sent right now"), (unsent.sent(), "is on the server")):
        html = page(browser, row)
        assert html.count(why) >= len(VERBS)
        assert not any(f'value="{verb}"' in html for verb in VERBS)


@pytest.mark.parametrize("entry", ["nonsense", "[1]", '["id"]', '{"a":1}', "[" * 50_000, '["id","another"]', ""])
def test_a_row_that_cannot_be_decoded_is_listed_as_such(browser: Client, entry: str) -> None:
    """With what it holds, and may be discarded."""
    row = unsent.row(entry=entry)
    html = site.text(browser.get(url()))
    assert f"Row {row.pk} of the outbox has the entry" in html
    html = page(browser, row)
    assert "expected a JSON list of texts" in html
    assert entry[:100].replace('"', "&quot;") in html
    assert "body isn" not in html
    do(browser, "discard", row)
    assert not OutboxMessage.objects.exists()


def test_any_text_is_shown_escaped(browser: Client) -> None:
    """Markup is text, and marks that turn the direction are written out."""
    nasty = "</pre><script>alert(1)</script>\x1b\u202e\u2028"
    row = unsent.refused(nasty, payload={"a": nasty}, key=nasty, type=nasty, stream=nasty, lane=nasty)
    for html in (site.text(browser.get(url())), page(browser, row)):
        assert "<script>alert" not in html
        assert not set(html) & set("\x1b\u202e\u2028")


def test_send_now_makes_them_due(browser: Client, root: User) -> None:
    """What was refused is due now; what its publisher sends isn't touched. Who asked for it is in the log."""
    refused, sending, due = unsent.refused(), unsent.sending(), unsent.row(next_try=-5)
    told = site.told(do(browser, "send", refused, sending, due))
    assert "2 unsent messages are sent at the relay's next look." in told
    assert "1 message is left as it is. It is being sent right now." in told
    now = timezone.now()
    tries = dict(OutboxMessage.objects.values_list("pk", "next_try_at"))
    assert tries[refused.pk] <= now
    assert (tries[sending.pk], tries[due.pk]) == (sending.next_try_at, due.next_try_at)
    entries = LogEntry.objects.filter(user=root, change_message="Sent before its next try.")
    assert {each.object_id for each in entries} == {key(refused), key(due)}


def test_discard_deletes(browser: Client, root: User, caplog: pytest.LogCaptureFixture) -> None:
    """For good, but not what is being sent, nor what is kept. The log has the user; the history outlives the row."""
    refused, sending, kept = unsent.refused(), unsent.sending(), unsent.sent()
    with caplog.at_level(logging.INFO, "django_redis_streams"):
        told = site.told(do(browser, "discard", refused, sending, kept))
    assert f"{refused.message_id} of stream 'orders' was discarded by {root.get_username()!r}." in caplog.text
    assert "1 unsent message was discarded." in told
    assert "kept only in case the server loses it" in told
    assert set(OutboxMessage.objects.values_list("pk", flat=True)) == {sending.pk, kept.pk}
    response = browser.get(url("change", quote(key(refused))))
    assert response.url == url("history", quote(key(refused)))
    assert "Discarded." in site.text(browser.get(response.url))


def test_a_row_that_went_while_somebody_decided_is_told_of(browser: Client) -> None:
    """Between the question and the answer the relay has sent it."""
    row = unsent.refused()
    row.delete()
    assert "1 message isn't there any more" in site.told(do(browser, "discard", OutboxMessage(pk=1)))


@pytest.mark.parametrize("action", [SEND, DISCARD_UNSENT], ids=VERBS)
def test_what_changed_after_the_question_is_left_and_told_of(action: MessageAction) -> None:
    """The page read it as refused, and since then it was sent."""
    refused, sent = unsent.refused(), unsent.sent()
    answers = action.ask(("default",), [refused.pk, sent.pk], "ann")
    assert answers.done == (refused.pk,)
    assert "sent in the meantime" in str(answers.refused[sent.pk])


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("permissions", [(), ("view",), ("view", "send"), ("view", "discard")])
def test_a_verb_needs_its_own_permission(verb: str, permissions: tuple[str, ...]) -> None:
    """Asking and doing; and nobody is offered what they may not do."""
    row = unsent.refused()
    client = site.browser(user(*permissions))
    fields = {"action": verb, site.SELECTED: key(row)}
    may = verb in permissions
    assert site.post(client, url(), **fields).status_code == (200 if may else 403)
    assert site.post(client, url(), **fields, confirmed="yes").status_code == (302 if may else 403)
    changed = [(row.pk, row.next_try_at)] != list(OutboxMessage.objects.values_list("pk", "next_try_at"))
    assert changed is may
    OutboxMessage.objects.all().delete()
    row = unsent.refused()
    for path in (url(), url("change", quote(key(row))), url("history", quote(key(row)))):
        response = client.get(path)
        assert response.status_code == (200 if permissions else 403)
        if "history" not in path:
            assert (f'value="{verb}"' in str(response.content)) is may
    assert client.get(url() + "add/").status_code == 404
    assert (
        client.post(f"{url()}{quote(key(row))}/delete/", headers={"X-CSRFToken": site.token(client)}).status_code == 404
    )


def test_a_verb_is_posted_and_never_got(browser: Client) -> None:
    """A link, prefetched or followed, does nothing."""
    row = unsent.refused()
    for verb in VERBS:
        browser.get(url(), {"action": verb, site.SELECTED: key(row), "confirmed": "yes", "index": "0"})
    assert list(OutboxMessage.objects.values_list("next_try_at", flat=True)) == [row.next_try_at]


def test_any_url_and_form_is_answered(browser: Client) -> None:
    """A page, a redirect or a 404, and nothing is changed."""
    row = unsent.refused()
    known = ("q", "after", "stream", "standing", "database")
    for index, value in enumerate(NASTY):
        query = [(name, value) for name in (*NAMES, *known)] if index % 2 else [(known[index // 2 % 5], value)] * 2
        assert browser.get(f"{url()}?{urlencode(query)}").status_code == 200, query
        view = ("change", "history")[index % 2]
        for written in (quote(value), quote(f"default/{value}"), quote(f"{value}/{row.pk}"))[index % 3 :]:
            assert browser.get(f"{url()}{written}/{view}/").status_code in FINE, written
        selected = (value, f"default/{value}")[index % 2]
        fields = {"action": VERBS[index % 2], site.SELECTED: selected, "confirmed": "yes"}
        if selected != key(row):
            assert site.post(browser, url(), **fields).status_code in {200, 302}, fields
    assert list(OutboxMessage.objects.values_list("pk", "next_try_at")) == [(row.pk, row.next_try_at)]


@pytest.mark.parametrize(
    "after",
    [
        [0, 10**400, "", "", "default"],
        [0, -(10**400), "", "", "default"],
        [0, 1, "", "", "gone"],
        [0, 2**63, "", "", "default"],
    ],
)
def test_any_cursor_gives_a_page(browser: Client, after: list[Any]) -> None:
    """Also one that stands outside of what a key can be."""
    unsent.row()
    assert browser.get(url(), {"after": json.dumps(after)}).status_code == 200


def test_a_missing_table_gives_a_page_that_says_so(browser: Client) -> None:
    """With the command that makes it; so do the verbs and the page of a message."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {OutboxMessage._meta.db_table} RENAME TO elsewhere")
    said = "manage.py migrate django_redis_streams_outbox --database=default"
    assert said in site.text(browser.get(url()))
    assert said in site.text(browser.get(url(), {"q": "word", "standing": "refused"}))
    assert said in site.told(browser.get(url("change", quote("default/1"))))
    for verb in VERBS:
        assert said in site.told(site.post(browser, url(), action=verb, **{site.SELECTED: "default/1"}))
    site.text(browser.get(url("history", quote("default/1"))))


def test_all_databases_are_listed(browser: Client, other: Any) -> None:
    """Each row with its database; one of them can be chosen, and one that has no table hides no other."""
    here = unsent.row()
    assert "“other” has no table" in site.text(browser.get(url()))
    assert listed(browser) == [here.pk]
    with other.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    there = [unsent.refused("LOADING", using="other", key="there").pk for _ in range(60)]
    assert listed(browser) == [here.pk, *there[:49]]
    following = browser.get(url() + browser.get(url()).context["cl"].next_url).context["cl"]
    assert [each.row.pk for each in following.result_list] == there[49:]
    assert listed(browser, database="default") == [here.pk]
    assert listed(browser, database="other", standing="refused") == there[:50]
    html = site.text(browser.get(url()))
    assert "?database=other" in html
    assert "61 unsent messages" in html
    assert "orders<br>(other)" in html
    browser.get(url("change", quote(f"other/{there[0]}")))
    fields = {"action": "discard", site.SELECTED: f"other/{there[0]}", "confirmed": "yes"}
    site.post(browser, url(), **fields)
    assert OutboxMessage.objects.using("other").count() == 59
    assert OutboxMessage.objects.count() == 1


class NotOther:
    """A router that keeps the table out of the other database."""

    def allow_migrate(self, db: str, *_: Any, **__: Any) -> bool:
        """Return whether a database may have a table."""
        return db != "other"


def test_a_row_where_no_relay_looks_can_be_discarded(browser: Client, other: Any, settings: Any) -> None:
    """Where a router has come to keep the table out of its database: it has a page, by its address."""
    with other.schema_editor() as editor:
        editor.create_model(OutboxMessage)
    row = unsent.refused("LOADING", using="other")
    settings.DATABASE_ROUTERS = [NotOther()]
    assert "LOADING" in site.text(browser.get(url("change", quote(key(row, "other")))))
    fields = {"action": "discard", site.SELECTED: key(row, "other"), "confirmed": "yes"}
    site.post(browser, url(), **fields)
    assert not OutboxMessage.objects.using("other").exists()


def test_nothing_is_inline(browser: Client) -> None:
    """No script, style or handler stands in a page, so `default-src 'self'` breaks none."""
    row = unsent.refused()
    pages = [site.text(browser.get(url())), page(browser, row)]
    pages += [site.text(site.post(browser, url(), action=verb, **{site.SELECTED: key(row)})) for verb in VERBS]
    for html in pages:
        parser = Inline()
        parser.feed(html)
        assert parser.found == []


def test_the_page_speaks_german(browser: Client) -> None:
    """Its own texts, and those of errors."""
    unsent.row(next_try=-90)
    unsent.sending()
    with override("de"):
        html = site.text(browser.get(url()))
        for told in ("Nicht gesendete Nachrichten", "überfällig", "wird gesendet", "Nächster Versuch"):
            assert told in html, told
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {OutboxMessage._meta.db_table} RENAME TO elsewhere")
        assert "Die Datenbank „default“ hat keine Tabelle" in site.text(browser.get(url()))


def test_without_the_app_there_is_no_page() -> None:
    """And nothing of it is imported: its model belongs to no installed app."""
    script = (
        "import django, sys; django.setup()\n"
        "from django.contrib import admin; admin.autodiscover()\n"
        "from django_redis_streams import diagnosis, metrics\n"
        "print(sorted(m.__name__ for m in admin.site._registry if m.__module__.startswith('django_redis_streams')))\n"
        "print('django_redis_streams.outbox.models' in sys.modules)\n"
    )
    settings = {"DJANGO_SETTINGS_MODULE": "tests.support.without_outbox_settings"}
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    models, imported = done.stdout.splitlines()
    assert models == "['ConsumerGroup', 'DeadLetter', 'DelayedMessage', 'PendingMessage', 'RetryingMessage']"
    assert imported == "False"
