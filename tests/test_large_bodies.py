"""Lists of large messages take a bounded amount of memory, however many there are: in the admin, commands and Python.

Each is asked about 40 MiB of bodies. A message is a mebibyte, so that what is read at once is a few of them.
"""

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from django_redis_streams import follow, inspection
from django_redis_streams.message import new_id
from django_redis_streams.operations import dead_letters
from django_redis_streams.operations.dead_letters import Search, Selection
from django_redis_streams.outbox.listing import find_unsent

from .admin import site
from .support import states, unsent

Raw = Any
Act = Callable[[], Any]

MEBIBYTE = 1024 * 1024
COUNT = 40
# What is read at once, and one message in some shapes more, as JSON; far below what all bodies take.
BOUND = 16 * MEBIBYTE
BODY = {"order_id": "ord_123", "type": "order.created", "text": "x" * MEBIBYTE}
ALL = {"select_across": "1", site.SELECTED: "any"}


@pytest.fixture(autouse=True)
def _empty(streams: Callable[..., None]) -> None:
    """Begin with an empty server, and one group of a stream."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 0.001}}}})


class Sink:
    """An output that keeps nothing, and counts what is written."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, text: str) -> None:
        """Count the text."""
        self.size += len(text)

    def flush(self) -> None:
        """Do nothing."""

    def isatty(self) -> bool:
        """No terminal."""
        return False


def taken_by(act: Act) -> int:
    """The most memory that an act has taken at once, in bytes."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def command(*words: str) -> int:
    """Run a command; return how much it has written."""
    sink = Sink()
    call_command(*words, stdout=sink, stderr=Sink())
    return sink.size


def published(raw: Raw) -> None:
    """Large messages on the stream."""
    for _ in range(COUNT):
        raw.xadd("orders", BODY)


def buried(raw: Raw) -> None:
    """Large dead letters."""
    published(raw)
    while some := states.deliver(count=2):
        states.settle(some, states.DeadLetter(states.Reason.EXHAUSTED, states.FAILURE))


def retried(raw: Raw) -> None:
    """Large retries."""
    published(raw)
    while some := states.deliver(count=2):
        states.settle(some, states.RetryLater(3600, states.FAILURE))


def delayed(raw: Raw) -> None:
    """Large delayed messages."""
    for _ in range(COUNT):
        states.delay("x" * MEBIBYTE, type="order.created")


def held(raw: Raw) -> None:
    """Large messages that are pending for a silent consumer."""
    published(raw)
    raw.xgroup_create("orders", "billing", "0")
    for _ in range(COUNT):
        raw.xreadgroup("billing", "box-1", {"orders": ">"}, count=1)


KINDS = {"deadletter": buried, "retryingmessage": retried, "delayedmessage": delayed, "pendingmessage": held}
VERBS = [(model, verb) for model, verbs in site.VERBS.items() for verb in verbs]


@pytest.fixture
def browser(db: None, django_user_model: Any) -> Client:
    """A superuser's browser."""
    return site.browser(django_user_model.objects.create_superuser("root"))


@pytest.mark.parametrize("model", KINDS)
def test_a_list_in_the_admin_reads_no_bodies(browser: Client, raw: Raw, model: str) -> None:
    """A page shows as many rows as it does of small messages; a search looks into all, and holds a few."""
    KINDS[model](raw)
    pages: list[str] = []
    for query in ("", "?q=nowhere", "?q=xxx"):
        assert taken_by(lambda query=query: pages.append(site.text(browser.get(site.url(model) + query)))) < BOUND
    assert f"{COUNT} of {COUNT}" in pages[0]
    assert f"Searched {COUNT} of {COUNT}: 0 found" in pages[1]
    assert f"{COUNT} found" in pages[2]


@pytest.mark.parametrize(("model", "verb"), VERBS)
def test_an_action_in_the_admin_reads_no_bodies(browser: Client, raw: Raw, model: str, verb: str) -> None:
    """Neither its question for all, nor that for some, nor the confirmed action."""
    KINDS[model](raw)
    pages: list[Any] = []

    def posted(**fields: Any) -> None:
        pages.append(site.post(browser, site.url(model), action=verb, **fields))

    assert taken_by(lambda: posted(**ALL)) < BOUND
    keys = pages[0].context_data["keys"]
    assert len(keys) == COUNT
    assert taken_by(lambda: posted(**{site.SELECTED: keys})) < BOUND
    assert pages[1].context_data["keys"] == keys
    assert taken_by(lambda: posted(**{site.SELECTED: keys}, confirmed="yes")) < BOUND
    assert str(COUNT) in site.told(pages[2])


@pytest.mark.parametrize(
    ("fill", "words", "least"),
    [
        (buried, "deadletters list --limit 100", 1),
        (buried, "deadletters list --limit 100 --json", COUNT * MEBIBYTE),
        (buried, "deadletters list --limit 100 --all --search nowhere", 1),
        (buried, "deadletters replay --dry-run", 1),
        (buried, "deadletters replay --no-input", 1),
        (buried, "deadletters discard --no-input", 1),
        (retried, "streams retries list --limit 100", 1),
        (retried, "streams retries list --limit 100 --json", COUNT * MEBIBYTE),
        (delayed, "streams delayed list --limit 100", 1),
        (delayed, "streams delayed list --limit 100 --json", COUNT * MEBIBYTE),
        (published, "streams tail orders --after 0 --no-wait --json", COUNT * MEBIBYTE),
    ],
)
def test_a_command_holds_a_few_bodies(raw: Raw, fill: Callable[[Raw], None], words: str, least: int) -> None:
    """It writes all that it should, a piece at a time."""
    fill(raw)
    written: list[int] = []
    assert taken_by(lambda: written.append(command(*words.split()))) < BOUND
    assert written[0] >= least


def test_a_message_is_looked_for_without_the_others_bodies(raw: Raw) -> None:
    """A message's own id is looked for in all entries."""
    published(raw)
    assert taken_by(lambda: inspection.story("orders", new_id())) < BOUND


def test_dead_letters_are_shown_one_after_the_other(raw: Raw) -> None:
    """However many are named."""
    buried(raw)
    ids = [entry_id for entry_id, _ in raw.xrange("{orders}:dlq")]
    assert len(ids) == COUNT
    assert taken_by(lambda: command("deadletters", "show", *ids, "--json")) < BOUND


def test_a_page_in_python_ends_where_bodies_are_large(raw: Raw) -> None:
    """The next one goes on there; without bodies the rows have what else is known, and how large they are."""
    buried(raw)
    assert taken_by(lambda: inspection.dead_letters(count=COUNT)) < 2 * BOUND
    page = inspection.dead_letters(count=COUNT)
    assert 0 < len(page.rows) < COUNT
    found = [row.without_body() for row in page.rows]
    while page.next is not None:
        page = inspection.dead_letters(count=COUNT, after=page.next)
        found += [row.without_body() for row in page.rows]
    rows = inspection.dead_letters(count=COUNT, bodies=False).rows
    assert found == list(rows)
    assert all(row.fields is None and row.size > MEBIBYTE and row.error == states.FAILURE.error for row in rows)


def test_a_replay_in_python_holds_a_few_bodies(raw: Raw) -> None:
    """Also where the search brings them."""
    buried(raw)
    done: list[str] = []

    def replay() -> None:
        done.extend(each.row.message_id for each in dead_letters.replay_each(Search(Selection()), by="ann"))

    assert taken_by(replay) < BOUND
    assert len(done) == COUNT


def test_following_holds_a_few_bodies(raw: Raw) -> None:
    """Though a hundred are asked for."""
    published(raw)
    assert taken_by(lambda: [message.entry_id for message in follow("orders", after="0", block=0)]) < BOUND


@pytest.mark.django_db
def test_rows_of_the_outbox_are_found_without_their_bodies() -> None:
    """As an action in the admin asks for those that are selected, five hundred at most."""
    keys = [unsent.row("x" * 1_000_000).pk for _ in range(COUNT)]
    assert taken_by(lambda: find_unsent("default", keys, bodies=False)) < BOUND
    found = find_unsent("default", keys, bodies=False)
    assert [(each.pk, each.fields) for each in found] == [(key, None) for key in keys]
    (whole,) = find_unsent("default", keys[:1])
    assert "x" * 1_000_000 in whole.payload
