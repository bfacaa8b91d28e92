"""A server that takes connections and answers nothing: whoever looks is told soon, once for each server."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import RequestFactory
from django.urls import reverse

from django_redis_streams import connections, inspection, metrics
from django_redis_streams.connections import pool
from django_redis_streams.exceptions import ServerUnreachable

from .support.servers import Server

# In seconds. A reply may take 40 here, so whoever waits for one of a silent server takes longer than this.
SOON = 20.0
STREAMS = {f"s{number}": {"GROUPS": {"billing": {}, "loyalty": {}}} for number in range(4)}


@pytest.fixture(params=["connected", "new"])
def silent(
    make_server: Callable[..., Server], streams: Callable[..., None], request: Any, monkeypatch: pytest.MonkeyPatch
) -> Server:
    """The default connection's server doesn't answer, on a connection that has worked and on a new one."""
    monkeypatch.setattr(pool, "ANSWER", 0.3)
    made = make_server()
    streams(STREAMS, URL=made.url, OPTIONS={"socket_connect_timeout": 0.3, "socket_timeout": 40})
    if request.param == "connected":
        connections.get().call("PING")
    made.pause()
    return made


@contextmanager
def soon(within: float = SOON) -> Iterator[None]:
    """What is done within it takes no more time than one server may."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < within


def said(*words: str) -> str:
    """All that a command says, its error included."""
    out = io.StringIO()
    try:
        call_command(*words, stdout=out)
    except (CommandError, SystemExit) as error:
        out.write(str(error))
    return out.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        ("streams", "status"),
        ("streams", "pending"),
        ("streams", "consumers", "list"),
        ("streams", "retries", "list"),
        ("streams", "tail", "s0"),
        ("streams", "show", "1-0"),
        ("streams", "pause", "s0:billing"),
        ("streams", "groups", "delete", "s0:billing", "--force", "--no-input"),
        ("streams", "publish", "s0", "{}"),
        ("deadletters", "list"),
        ("deadletters", "replay", "--no-input"),
    ],
    ids=" ".join,
)
def test_a_command_says_soon_that_the_server_does_not_answer(silent: Server, words: tuple[str, ...]) -> None:
    """However many streams and groups are on it."""
    with soon():
        assert "the server doesn't answer" in said(*words)


def test_what_was_never_sent_is_not_told_as_lost(silent: Server) -> None:
    """The server is asked before anything is changed, so nobody need wonder whether it was."""
    with connections.hurried(), pytest.raises(ServerUnreachable) as raised:
        connections.get().call("SET", "a", "1")
    assert "may or may not" not in str(raised.value)
    silent.cont()
    assert connections.get().call("EXISTS", "a") == 0


def test_metrics_are_there_soon(silent: Server) -> None:
    """A scraper doesn't wait for long either."""
    with soon():
        page = metrics.view(RequestFactory().get("/metrics")).content.decode()
    assert [line for line in page.splitlines() if line.startswith("redis_streams_up{")] == [
        f'redis_streams_up{{stream="{name}"}} 0.0' for name in STREAMS
    ]


def test_contents_of_a_silent_server_are_asked_for_once(silent: Server, settings: Any) -> None:
    """Also by a project's own code, which is in no hurry: a try a server, not one a stream."""
    connection = settings.REDIS_STREAMS["CONNECTIONS"]["default"]
    connection["OPTIONS"] = {"socket_connect_timeout": 2, "socket_timeout": 2}
    settings.REDIS_STREAMS = {**settings.REDIS_STREAMS}
    with soon(within=7):  # of four tries, each takes two seconds
        found, problems = inspection.stream_contents()
    assert found == []
    assert [each.stream for each in problems] == [*STREAMS]


MODELS = ["consumergroup", "deadletter", "pendingmessage", "retryingmessage", "delayedmessage"]


@pytest.mark.parametrize("model", MODELS)
def test_a_page_of_the_admin_says_soon_that_the_server_does_not_answer(
    silent: Server, admin_client: Any, model: str
) -> None:
    """However many streams and groups are on it."""
    with soon():
        page = admin_client.get(reverse(f"admin:django_redis_streams_{model}_changelist"))
    assert "the server doesn&#x27;t answer" in page.content.decode()


def test_a_server_that_answers_again_is_asked_again(silent: Server) -> None:
    """What a command was told lasts no longer than that command."""
    assert "the server doesn't answer" in said("streams", "status")
    silent.cont()
    assert "s3:loyalty" in said("streams", "status")


def test_a_server_that_falls_silent_meanwhile_is_asked_once(silent: Server) -> None:
    """Within one look its error is told again, without a further wait."""
    with connections.hurried():
        for _ in range(20):
            with soon(), pytest.raises(ServerUnreachable):
                connections.get().call("PING")
        silent.cont()
        with pytest.raises(ServerUnreachable):
            connections.get().call("PING")
    assert connections.get().call("PING") == "PONG"
