"""`manage.py streams tail` and `publish`: a message in and a message out, by hand."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_redis_streams import follow, publish, publish_many

from .support.documents import ROOT
from .support.servers import Server
from .support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("streams")

Raw = Any


def said(*arguments: str) -> str:
    """What `manage.py streams` says."""
    out = io.StringIO()
    call_command("streams", *arguments, stdout=out)
    return out.getvalue()


def on_stream(stream: str = "orders") -> list[Any]:
    """The messages that are there."""
    return list(follow(stream, after="0", block=0))


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives the commands a text to read."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


# ---------------------------------------------------------------- tail


def test_each_message_is_a_line(raw: Raw) -> None:
    """Its time, entry id, type and payload; a foreign entry's fields."""
    publish("orders", {"n": 1, "name": "Zoë"}, type="order.created")
    foreign = raw.xadd("orders", {"n": "2"})
    first, second = said("tail", "orders", "--after", "0", "--no-wait").splitlines()
    assert first.endswith(' order.created {"n": 1, "name": "Zoë"}')
    assert second.endswith(f' {foreign} - {{"n": "2"}}')


def test_with_json_each_line_is_a_document() -> None:
    """With all that is known of the message."""
    sent = publish("orders", {"n": 1}, type="t", key="k", headers={"a": "b"})
    (told,) = map(json.loads, said("tail", "orders", "--after", "0", "--no-wait", "--json").splitlines())
    assert told.items() >= {"id": sent.id, "type": "t", "key": "k", "headers": {"a": "b"}, "lane": "default"}.items()
    assert told["payload"] == {"n": 1}


def test_it_ends_after_so_many() -> None:
    """Without waiting for one more."""
    publish_many("orders", range(5))
    lines = said("tail", "orders", "--after", "0", "--count", "3").splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["0", "1", "2"]


def test_it_goes_on_after_an_entry() -> None:
    """Which isn't shown again."""
    publish_many("orders", range(3))
    first = on_stream()[0].entry_id
    assert len(said("tail", "orders", "--after", first, "--no-wait").splitlines()) == 2


def test_what_would_deceive_a_terminal_is_written_out(raw: Raw) -> None:
    """A message is one line, and moves no cursor."""
    raw.xadd("orders", {"type": "a\nb\x1b[2J", "n": b"\xff\xc2\x9b"})
    (line,) = said("tail", "orders", "--after", "0", "--no-wait").splitlines()
    assert "a\\nb\\x1b[2J" in line
    assert "\x9b" not in line


def test_a_lane_is_named_and_can_be_chosen(streams: Callable[..., None]) -> None:
    """All lanes are shown unless one is asked for."""
    streams({"tasks": {"LANES": ["high", "default"], "GROUPS": {"workers": {}}}})
    said("publish", "tasks", "1", "--lane", "high")
    said("publish", "tasks", "2")
    shown = said("tail", "tasks", "--after", "0", "--no-wait").splitlines()
    assert [line.split(" ", 2)[2] for line in shown] == ["[high] - 1", "- 2"]
    assert len(said("tail", "tasks", "--after", "0", "--no-wait", "--lane", "high").splitlines()) == 1


@contextmanager
def tailing(server: Server, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that follows the stream "orders" through a pipe, and waits for what comes."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        "DJANGO_SETTINGS_MODULE": "tests.support.worker_settings",
        "TEST_REDIS_URL": server.url,
        "TEST_STREAMS": '{"orders": {}}',
    }
    command = [sys.executable, "-m", "django", "streams", "tail", "orders", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell has what it runs in the background ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  a test, and one call
    )  # fmt: skip
    try:
        wait_until(lambda: any(each["cmd"] == "xread" for each in server.raw().client_list()), "it follows")
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_through_a_pipe_each_line_comes_at_once_and_ctrl_c_ends_it(server: Server) -> None:
    """Whoever reads it needn't wait for a full buffer; ending it is no error."""
    with tailing(server) as process:
        for n in range(2):
            publish("orders", n)
            assert process.stdout is not None
            assert process.stdout.readline().endswith(f" - {n}\n")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_ends_it(server: Server) -> None:
    """`… | head` leaves no traceback."""
    with tailing(server) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        publish("orders", 1)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


# ---------------------------------------------------------------- publish


def test_a_payload_is_published_with_all_its_options() -> None:
    """And its id told."""
    told = said("publish", "orders", '{"n": 1}', "--type", "t", "--key", "k", "--headers", '{"a": "b"}')
    (message,) = on_stream()
    assert told == f"Published {message.id} to orders.\n"
    assert (message.payload, message.type, message.key, dict(message.headers)) == ({"n": 1}, "t", "k", {"a": "b"})


def test_with_json_its_id_is_told() -> None:
    """For whoever goes on with it."""
    told = json.loads(said("publish", "orders", "[1]", "--json"))
    assert told == {"stream": "orders", "lane": "default", "id": on_stream()[0].id}


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_a_payload_is_read_from_standard_input(arguments: Any, standard_input: Callable[[str], None]) -> None:
    """Where none is given, or a dash is."""
    standard_input('{\n"n": 1}\n')
    said("publish", "orders", *arguments)
    assert [each.payload for each in on_stream()] == [{"n": 1}]


@pytest.mark.parametrize("chunk", [(), ("--chunk-size", "2")])
def test_each_line_is_a_message(chunk: Any, standard_input: Callable[[str], None]) -> None:
    """Empty ones aside."""
    standard_input('1\n\n{"n": 2}\n"three"')
    assert said("publish", "orders", "--ndjson", "--type", "t", *chunk) == "Published 3 to orders.\n"
    assert [(each.payload, each.type) for each in on_stream()] == [(1, "t"), ({"n": 2}, "t"), ("three", "t")]


def test_a_bad_line_publishes_nothing(standard_input: Callable[[str], None]) -> None:
    """All lines are read before the first is sent, so the file can be mended and sent again."""
    standard_input("1\n2\n{oops\n")
    with pytest.raises(CommandError, match="Line 3 isn't JSON") as error:
        said("publish", "orders", "--ndjson")
    assert (error.value.returncode, on_stream()) == (2, [])


def test_a_bad_line_says_how_many_were_sent_before(standard_input: Callable[[str], None]) -> None:
    """Where they are sent as they come."""
    standard_input("1\n2\n3\n{oops\n")
    with pytest.raises(CommandError, match=r"Line 4 isn't JSON.*\(2 messages were published.\)"):
        said("publish", "orders", "--ndjson", "--chunk-size", "2")
    assert len(on_stream()) == 2


def test_a_message_can_be_published_later(raw: Raw) -> None:
    """It waits apart from the stream."""
    said("publish", "orders", "1", "--delay", "3600")
    assert (on_stream(), raw.zcard("{orders}:delayed")) == ([], 1)


# ---------------------------------------------------------------- errors


REFUSED = {
    "publish to an unknown stream": (("publish", "ordrs", "1"), "Did you mean 'orders'"),
    "publish what isn't JSON": (("publish", "orders", "hello"), "isn't JSON.*Text is written in quotes"),
    "publish a key given twice": (("publish", "orders", '[{"a": 1, "a": 2}]'), "the key 'a' is given twice"),
    "headers with a key twice": (
        ("publish", "orders", "1", "--headers", '{"a": 1, "a": 2}'),
        "'a' is given twice",
    ),
    "publish NaN": (("publish", "orders", "NaN"), "NaN is not a JSON value"),
    "publish onto an unknown lane": (("publish", "orders", "1", "--lane", "fast"), "lane='fast': expected"),
    "headers that are no object": (("publish", "orders", "1", "--headers", "[]"), "expected a JSON object"),
    "a delay that is no number": (("publish", "orders", "1", "--delay", "soon"), "'soon': expected a time span"),
    "a payload beside many": (("publish", "orders", "1", "--ndjson"), "Leave the payload argument out"),
    "chunks of one": (("publish", "orders", "1", "--chunk-size", "2"), "needs --ndjson"),
    "follow an unknown stream": (("tail", "ordrs"), "Did you mean 'orders'"),
    "follow an unknown lane": (("tail", "orders", "--lane", "fast"), "lane='fast': expected"),
    "follow from nowhere": (("tail", "orders", "--after", "yesterday"), "after='yesterday': expected"),
    "follow none": (("tail", "orders", "--count", "0"), "'0': expected a whole number"),
}


@pytest.mark.parametrize(("arguments", "says"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_is_an_error_with_code_2(arguments: Any, says: str) -> None:
    """Said clearly, and nothing is published."""
    with pytest.raises(CommandError, match=says) as error:
        said(*arguments)
    assert error.value.returncode == 2 or "argument" in str(error.value)  # argparse's own errors end with 2
    assert on_stream() == []


@pytest.mark.parametrize("arguments", [("tail", "orders"), ("publish", "orders", "1")])
def test_a_server_that_is_away_is_an_error_with_code_1(arguments: Any, streams: Callable[..., None]) -> None:
    """Which says where it was looked for."""
    streams(URL="unix:///nowhere/at.all")
    with pytest.raises(CommandError, match="/nowhere/at") as error:
        said(*arguments)
    assert error.value.returncode == 1


def test_a_refusal_while_following_is_an_error(raw: Raw) -> None:
    """As one at the beginning is."""
    raw.set("orders", "text")
    with pytest.raises(CommandError, match="WRONGTYPE"):
        said("tail", "orders", "--after", "0")
