"""When the server is down, loading, closed to us, or the settings are broken: the page says so, and no password."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.test import Client

from django_redis_streams.connections.pool import Pool
from tests.support.servers import Server

from . import site

SECRET = "s3cret-of-ann"


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting is tried once: these servers won't be there a moment later."""
    monkeypatch.setattr(Pool, "PAUSES", ())


@pytest.fixture
def loading() -> Iterator[str]:
    """Where a server listens that answers every command as one does that reads its file."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while connection.recv(65536):
                connection.sendall(b"-LOADING Redis is loading the dataset in memory\r\n")

    threading.Thread(target=serve, daemon=True).start()
    yield f"redis://ann:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/0"
    listener.close()


def connected(**connection: Any) -> dict[str, Any]:
    """Settings with this connection."""
    return {"CONNECTIONS": {"default": connection}, "STREAMS": {"orders": {"GROUPS": {"billing": {}}}}}


def all_answers(browser: Client, keys: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Every page and every verb, with what it answers."""
    for model, verbs in site.VERBS.items():
        yield "list", browser.get(site.url(model))
        yield "list", browser.get(site.url(model), {"q": "x", "group": "billing", "stream": "orders"})
        yield "page", browser.get(site.url(model, "change", quote(keys[model])))
        yield "history", browser.get(site.url(model, "history", quote(keys[model])))
        for verb in verbs:
            fields = {"action": verb, site.SELECTED: keys[model]}
            yield "verb", site.post(browser, site.url(model), **fields)
            yield "verb", site.post(browser, site.url(model), **fields, confirmed="yes")
            yield "verb", site.post(browser, site.url(model), **fields, index="0", select_across="1")


def check(browser: Client, keys: dict[str, str], sentence: str) -> None:
    """Each list shows the sentence; each page and verb leads back to it; nowhere is the password."""
    for what, answer in all_answers(browser, keys):
        assert SECRET not in str(answer.content) + site.told(answer)
        if what == "list":
            assert sentence in site.text(answer)
        elif what == "page" or (what == "verb" and answer.status_code == 302):
            assert answer.status_code == 302
            assert sentence in site.told(answer).replace("'", "&#x27;")
        else:
            site.text(answer)


def test_a_server_that_is_down(keys: dict[str, str], browser: Client, streams: Any) -> None:
    """Nobody listens there."""
    streams(URL=f"redis://ann:{SECRET}@127.0.0.1:1/0")
    check(browser, keys, "redis://127.0.0.1:1/0")


def test_a_server_that_is_loading(keys: dict[str, str], browser: Client, streams: Any, loading: str) -> None:
    """It says so itself."""
    streams(URL=loading)
    check(browser, keys, "loading the dataset")


def test_a_server_that_lets_us_do_nothing(keys: dict[str, str], browser: Client, streams: Any, server: Server) -> None:
    """An ACL without any command."""
    streams(URL=server.user("ann", SECRET, "~*", "-@all"))
    check(browser, keys, "permission")


def test_a_password_that_is_wrong(keys: dict[str, str], browser: Client, streams: Any, server: Server) -> None:
    """We aren't let in."""
    server.user("ann", SECRET, "+@all", "~*")
    streams(URL=f"unix://ann:{SECRET}x@{server.socket}")
    check(browser, keys, "unix:")


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ({"STREAM": {}}, "STREAM"),
        (connected(URL=f"redis://ann:{SECRET}@x/y#z"), "URL"),
        (connected(URL=f"{SECRET}://x"), "URL"),
        (connected(URL="redis://x", OPTIONS={"pasword": SECRET}), "pasword"),
        ({"STREAMS": {"orders": {}}}, "connection"),
        ("nonsense", "REDIS_STREAMS"),
    ],
)
def test_settings_that_cannot_work(
    keys: dict[str, str], browser: Client, settings: Any, broken: Any, sentence: str
) -> None:
    """What is wrong in REDIS_STREAMS is named."""
    settings.REDIS_STREAMS = broken
    for what, answer in all_answers(browser, keys):
        assert SECRET not in str(answer.content) + site.told(answer)
        shown = site.text(answer) if answer.status_code == 200 else site.told(answer)
        if what != "history":
            assert sentence in shown, (what, shown[-2000:])


def test_settings_without_streams(browser: Client, settings: Any) -> None:
    """A project that hasn't declared any yet sees empty lists."""
    for nothing in ({}, None, {"STREAMS": {}}):
        settings.REDIS_STREAMS = nothing
        for model in site.MODELS:
            assert "There are no" in site.text(browser.get(site.url(model)))


@pytest.mark.parametrize("key", ["{orders}:dlq", "{orders}:retry:loyalty", "orders", "{orders}:groups"])
def test_a_key_of_a_wrong_type(keys: dict[str, str], browser: Client, raw: Any, key: str) -> None:
    """Whatever was put in a place of ours: pages, and what can't be read is told."""
    raw.delete(key)
    raw.set(key, "text")
    told = "".join(str(answer.content) + site.told(answer) for _, answer in all_answers(browser, keys))
    assert key == "{orders}:groups" or "WRONGTYPE" in told or "wrong kind of value" in told


def test_one_server_that_is_down_hides_no_other(
    keys: dict[str, str], browser: Client, server: Server, settings: Any
) -> None:
    """Its streams are named; what others hold is listed."""
    settings.REDIS_STREAMS = {
        "CONNECTIONS": {"default": {"URL": server.url}, "down": {"URL": "unix:///nowhere/at.all"}},
        "STREAMS": {"orders": {"GROUPS": {"billing": {}}}, "lost": {"CONNECTION": "down"}},
    }
    html = site.text(browser.get(site.url("deadletter")))
    assert "Stream lost:" in html
    assert "ZeroDivisionError" in html
