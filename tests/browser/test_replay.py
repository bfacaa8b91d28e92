"""A dead letter's way back, as somebody walks it: from the login to the log entry."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User

from tests.support import unsent
from tests.support.workers import Fleet

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
expect = playwright.expect
# In milliseconds. Nothing is read from a page in any other way: this waits until the page is there, and says so.
PATIENCE = 15_000
expect.set_options(timeout=PATIENCE)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
STREAMS = {"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0}, "loyalty": {}, "analytics": {}}}}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A page of a browser that obeys a strict content security policy; what it refuses fails the test."""
    if CHROMIUM is None:
        pytest.skip("apt-get install chromium")
    # Playwright's sync API runs in an event loop, where Django's ORM would refuse to work.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    refused: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        opened = browser.new_page()
        opened.set_default_timeout(PATIENCE)
        opened.route("**/*", with_policy)
        opened.on("console", lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None)
        yield opened
        browser.close()
    assert refused == []


def with_policy(route: Any) -> None:
    """Fetch what was asked for, and add the policy to it; redirects are for the browser to follow."""
    response = route.fetch(max_redirects=0)
    route.fulfill(response=response, headers={**response.headers, "content-security-policy": "default-src 'self'"})


@pytest.fixture
def shop(server: Any, tmp_path: Path) -> Iterator[Fleet]:
    """Workers of a shop, started when told to."""
    workers = Fleet(tmp_path, server.url, STREAMS)
    yield workers
    workers.end()


def drain(shop: Fleet) -> None:
    """Run a worker until nothing is left to do now."""
    shop.drain(DJANGO_SETTINGS_MODULE="tests.browser.shop_settings")


def runs(shop: Fleet) -> list[str]:
    """The groups whose handlers ended well, in any order."""
    return sorted(line.split()[0] for line in shop.runs.read_text().splitlines())


def test_a_dead_letter_is_replayed_to_its_own_group_alone(
    live_server: Any, page: Any, raw: Any, streams: Any, shop: Fleet
) -> None:
    """It failed in one group; somebody replays it in the admin; that group handles it, and no other sees it again."""
    streams(STREAMS)
    User.objects.create_superuser("ann", password="ann's")
    gateway_is_down = shop.runs.with_name("gateway-is-down")
    gateway_is_down.touch()
    raw.xadd("orders", {"order_id": "ord_123", "total": "99.99"})
    drain(shop)
    assert runs(shop) == ["analytics", "loyalty"]
    gateway_is_down.unlink()

    page.goto(f"{live_server.url}/admin/")
    page.fill("#id_username", "ann")
    page.fill("#id_password", "ann's")
    page.click("[type=submit]")
    page.click("#content-main >> text=Dead letters")
    row = page.locator("#result_list tbody tr")
    expect(row).to_contain_text("ConnectionError: the gateway is down")
    row.locator("th a").click()
    expect(page.locator("#content-main")).to_contain_text('"order_id": "ord_123"')
    page.click("input[value='Replay…']")
    expect(page.locator("#content")).to_contain_text("Replay 1 dead letter?")
    page.click("input[value=Replay]")
    expect(page.locator(".messagelist")).to_contain_text("1 dead letter was replayed.")
    expect(page.locator("#changelist")).to_contain_text("There are no dead letters.")

    drain(shop)
    assert runs(shop) == ["analytics", "billing", "loyalty"]
    assert not raw.xlen("{orders}:dlq")
    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.change_message) == ("ann", "Replayed.")
    page.goto(f"{live_server.url}/admin/")
    page.click("#recent-actions-module a")
    expect(page.locator("#change-history")).to_contain_text("ann")


def test_the_unsent_messages_fit_a_small_screen(live_server: Any, page: Any, streams: Any) -> None:
    """No column is cut off, however long the words of the server, the stream's name and the key are."""
    streams(STREAMS)
    User.objects.create_superuser("ann", password="ann's")
    unsent.row(ago=7000, next_try=-700, key="customer-1234567", stream="warehouse.incoming_deliveries")
    unsent.refused(f"The server refuses to append to the stream 'orders': MISCONF {'unbreakable' * 9}", attempts=1400)
    page.set_viewport_size({"width": 1280, "height": 700})
    page.goto(f"{live_server.url}/admin/django_redis_streams_outbox/outboxmessage/")
    page.fill("#id_username", "ann")
    page.fill("#id_password", "ann's")
    page.click("[type=submit]")
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    results = page.locator(".results")
    assert results.evaluate("it => it.scrollWidth") <= results.evaluate("it => it.clientWidth")


def test_many_are_chosen_across_pages(live_server: Any, page: Any, raw: Any, streams: Any) -> None:
    """The admin's own script offers more than a page, as many as one action takes, and what is chosen is asked for."""
    streams(STREAMS)
    User.objects.create_superuser("ann", password="ann's")
    for number in range(120):
        raw.xadd("{orders}:dlq", {"n": str(number)})
    page.goto(f"{live_server.url}/admin/django_redis_streams/deadletter/")
    page.fill("#id_username", "ann")
    page.fill("#id_password", "ann's")
    page.click("[type=submit]")
    page.wait_for_url("**/deadletter/")  # loaded, and with it the script that hears of the check
    page.check("#action-toggle")
    expect(page.locator(".action-counter")).to_have_text("50 of 50 selected")
    page.click("text=Select up to 500 from here on")
    page.select_option("select[name=action]", "discard")
    page.click("button[name=index]")
    expect(page.locator("#content")).to_contain_text("Discard 120 dead letters?")
    page.click("input[value=Discard]")
    expect(page.locator(".messagelist")).to_contain_text("120 dead letters were discarded.")
    assert not raw.xlen("{orders}:dlq")
