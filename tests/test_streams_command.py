"""`manage.py streams …`: what an operator sees and does, on a real server."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_redis_streams import conf, connections
from django_redis_streams.handlers import handler
from django_redis_streams.management import tables
from django_redis_streams.outcomes import Ack, Failure
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.worker.timing import Timing

from .support import states
from .support.books import books
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import ROOT, drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
LANES = {"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {"CLAIM_IDLE": 0.001}}}}


def said(*words: str) -> str:
    """What the command says to people."""
    out = io.StringIO()
    call_command("streams", *words, stdout=out)
    return out.getvalue()


def told(*words: str, code: int = 0) -> Any:
    """What it tells programs."""
    out = io.StringIO()
    if code:
        with pytest.raises(SystemExit) as end:
            call_command("streams", *words, "--json", stdout=out)
        assert end.value.code == code
    else:
        call_command("streams", *words, "--json", stdout=out)
    return json.loads(out.getvalue())


def refused(*words: str) -> CommandError:
    """The error that it ends with."""
    with pytest.raises(CommandError) as caught:
        said(*words)
    return caught.value


def publish(raw: Raw, count: int) -> list[str]:
    """Entries that nobody has read."""
    return states.publish(raw, *({"n": str(n)} for n in range(count)))


# ---------------------------------------------------------------- status


def test_status_tells_every_stream_and_group(raw: Raw) -> None:
    """What waits, what is held, what failed, and how much memory it takes."""
    publish(raw, 3)
    states.deliver(count=1)
    states.publish(raw, {"n": "last"})
    (stream,) = told("status")["streams"]
    assert (stream["stream"], stream["length"], stream["rate"]) == ("orders", 4, 4 / 3600)
    assert stream["first"] == raw.xrange("orders", count=1)[0][0]
    assert stream["last"] == raw.xrevrange("orders", count=1)[0][0]
    assert stream["memory"] > 100
    assert stream["delayed"] == 0
    billing = next(each for each in stream["groups"] if each["group"] == "billing")
    assert billing["lag"] in (None, 4 - billing["pending"])  # Redis 6.2 can't tell
    assert billing["pending"] > 0
    assert "orders:billing" in said("status")


def test_status_tells_no_age_of_ids_in_the_future(raw: Raw) -> None:
    """Nor a rate: nobody knows when such an entry came. What is known is told."""
    publish(raw, 1)
    raw.xadd("orders", {"a": "1"}, id="9999999999999-0")
    states.deliver()
    raw.xadd("orders", {"a": "2"})
    (stream,) = told("status")["streams"]
    assert (stream["last_age"], stream["rate"]) == (None, None)
    assert 0 <= stream["first_age"] < 10
    billing = next(each for each in stream["groups"] if each["group"] == "billing")
    assert billing["oldest_unread"] is None
    assert 0 <= billing["oldest_pending"] < 10
    assert "unknown" in said("status")


def test_status_counts_what_failed(raw: Raw) -> None:
    """Dead letters of the group, without those that were replayed."""
    publish(raw, 2)
    states.bury()
    (stream,) = told("status", "orders")["streams"]
    assert stream["dead_letters"] == 2
    assert next(each for each in stream["groups"] if each["group"] == "billing")["dead_letters"] == 2


def test_status_counts_what_came_again(raw: Raw) -> None:
    """What a handler with once had done before: a total of the group."""
    raw.hset("{orders}:totals:billing", "repeated", 1204)
    publish(raw, 1)
    states.deliver()
    billing = next(each for each in told("status", "orders")["streams"][0]["groups"] if each["group"] == "billing")
    assert billing["repeated"] == 1204
    head, row = (
        line.split("  ") for line in said("status").splitlines() if line.startswith(("group", "orders:billing"))
    )
    cells = dict(zip((each.strip() for each in head if each), (each.strip() for each in row if each), strict=True))
    assert cells["repeated"] == "1,204"


def test_status_gives_the_servers_words_for_what_it_refuses(raw: Raw) -> None:
    """Without the place in a script."""
    raw.set("orders", "taken")
    (said_of_it,) = told("status", code=1)["problems"].values()
    assert said_of_it.startswith("WRONGTYPE")
    assert "script" not in said_of_it


def test_the_rate_of_a_busy_stream_is_that_of_its_newest_entries(raw: Raw) -> None:
    """Counting is bounded; what was counted is set against the time in which it came."""
    now = int(raw.time()[0]) * 1000
    raw.eval(
        "for i = 1, 10001 do redis.call('XADD', KEYS[1], string.format('%.0f-%d', ARGV[1] - 100000, i), 'n', '1') end",
        1, "orders", now,
    )  # fmt: skip
    (stream,) = told("status")["streams"]
    assert 50 < stream["rate"] <= 101


def test_status_of_a_server_that_is_away_says_so(streams: Callable[..., None]) -> None:
    """What can't be read is named, with exit code 1."""
    streams(URL="redis://localhost:1/0")
    assert "orders" in told("status", code=1)["problems"]


def test_status_watches_until_it_is_stopped(monkeypatch: Any) -> None:
    """Again and again, and Ctrl-C is no error."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("django_redis_streams.management.streams.status.time.sleep", wait)
    text = said("status", "--watch")
    assert text.count("orders:billing") == 2
    assert len(re.findall(r"^\d\d:\d\d:\d\d, again each 2 s until Ctrl-C$", text, re.MULTILINE)) == 2
    waits.clear()
    lines = said("status", "--watch", "--json").splitlines()
    assert [json.loads(each)["streams"][0]["stream"] for each in lines] == ["orders", "orders"]
    waits.clear()
    out = Terminal()
    call_command("streams", "status", "--watch", stdout=out)
    assert out.getvalue().count("\x1b[H\x1b[2J") == 2


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_a_terminal_that_is_too_narrow_for_a_table_shows_records(monkeypatch: Any) -> None:
    """A line a cell: no name is cut."""
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "60")
    lines = said("status").splitlines()
    assert re.search("^group +orders:billing$", "\n".join(lines), re.MULTILINE)
    assert max(map(len, lines)) <= 60
    monkeypatch.setenv("COLUMNS", "200")
    assert not re.search("^group +orders:billing$", said("status"), re.MULTILINE)


@pytest.mark.parametrize("words", [["streams", "tail", "orders", "--after", "0", "--no-wait"], ["deadletters", "list"]])
def test_a_terminal_that_lacks_characters_gets_escapes(raw: Raw, server: Server, words: list[str]) -> None:
    """In place of an error."""
    raw.xadd("orders", {"type": "größe.東"})
    states.bury(failure=Failure(error="東 is gone"))
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "tests.support.worker_settings", "TEST_REDIS_URL": server.url,
        "TEST_STREAMS": json.dumps({"orders": {"GROUPS": {"billing": {}}}}), "TEST_RUNS": os.devnull,
        "PYTHONIOENCODING": "ascii:strict", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    program = [sys.executable, "-m", "django", *words]
    done = subprocess.run(program, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "\\u6771" in done.stdout


@pytest.mark.parametrize(
    "words", [["status", "order"], ["pending", "orders:bill"], ["consumers", "list", "ordes:billing"]]
)
def test_a_name_that_is_not_declared_ends_with_2_and_the_nearest(words: list[str]) -> None:
    """So that a slip of the pen is seen."""
    error = refused(*words)
    assert error.returncode == 2
    assert "Did you mean" in str(error)


# ---------------------------------------------------------------- workers, consumers, pending, release


def test_workers_are_shown_with_what_they_serve_and_run(raw: Raw, streams: Callable[..., None]) -> None:
    """For people in two tables, for programs all that is known."""
    streams(LANES)
    goes_on = threading.Event()

    @handler("orders", group="billing", timeout=600)
    def wait(message: Any) -> None:
        goes_on.wait(30)

    assert said("workers") == "No worker is running.\n"
    assert told("workers") == {"workers": [], "problems": {}}
    with working(name="web-7", timing=Timing(serve=0.05)):
        wait_until(lambda: told("workers")["workers"])
        publish(raw, 1)
        (found,) = wait_until(lambda: [each for each in told("workers", "orders")["workers"] if each["runs"]])
        assert (found["name"], found["pid"], found["host"]) == ("web-7", os.getpid(), socket.gethostname())
        assert found["serves"] == [
            {"stream": "orders", "group": "billing", "lanes": ["high", "default"], "consumers": 1}
        ]
        (run,) = found["runs"]
        assert (run["group"], run["consumer"], run["timeout"], run["messages"]) == ("billing", "web-7", 600, 1)
        processes, runs = said("workers").split("\n\n")
        assert re.search(
            rf"\n{socket.gethostname()} +{os.getpid()} .* orders:billing \(high/default\) by 1 ", processes
        )
        assert re.search(rf"\n{os.getpid()} +orders:billing .*orders/\S+ +1 +\d+s +10m", runs)
        goes_on.set()
    assert told("workers")["workers"] == []


def test_workers_of_a_server_that_is_away_are_a_problem(streams: Callable[..., None]) -> None:
    """It isn't said that there are none."""
    streams(URL="unix:///nowhere/at.all")
    assert [*told("workers", code=1)["problems"]] == ["orders"]
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("streams", "workers", stdout=out)
    assert "No worker is running" not in out.getvalue()


def test_consumers_are_shown_with_what_they_hold(raw: Raw) -> None:
    """Those that hold most come first."""
    publish(raw, 3)
    states.deliver(consumer="one")
    raw.xgroup_createconsumer("orders", "billing", "two")
    found = told("consumers", "list", "orders:billing")["consumers"]
    assert [(each["consumer"], each["pending"], each["state"]) for each in found] == [
        ("one", 3, "alive"),
        ("two", 0, "alive"),
    ]
    assert "one" in said("consumers", "list")


def test_a_consumer_that_holds_something_is_only_removed_when_it_is_released(raw: Raw) -> None:
    """Nothing that is pending is thrown away."""
    publish(raw, 2)
    states.deliver(consumer="one")
    remove = ("consumers", "remove", "orders:billing", "one")
    assert told(*remove, code=1)["consumers"] == [{"consumer": "one", "removed": False, "held": 2}]
    assert told(*remove, "--release", "--by", "ann")["consumers"][0]["removed"]
    assert {each["consumer"] for each in raw.xpending_range("orders", "billing", "-", "+", 9)} == {"returned"}
    assert refused(*remove).returncode == 2


def test_pending_is_shown_by_idle_time_and_deliveries(raw: Raw) -> None:
    """The longest idle first, bounded by what is said."""
    first, second, third = publish(raw, 3)
    states.deliver(consumer="one")
    raw.xclaim("orders", "billing", "two", 0, [second], idle=60_000, retrycount=5)
    raw.xclaim("orders", "billing", "two", 0, [third], idle=5_000)
    found = told("pending", "orders:billing")
    assert [each["id"] for each in found["pending"]] == [second, third, first]
    assert (found["searched"], found["total"]) == (3, 3)
    assert [each["id"] for each in told("pending", "--idle", "30s")["pending"]] == [second]
    assert [each["id"] for each in told("pending", "--deliveries", "5", "--limit", "1")["pending"]] == [second]
    assert told("pending", "--scan", "1")["searched"] == 1
    assert "two" in said("pending")


def test_what_was_released_is_pending(raw: Raw) -> None:
    """It counts as never delivered, and is shown unless deliveries are asked for."""
    (entry_id,) = publish(raw, 1)
    states.deliver(consumer="one")
    told("consumers", "remove", "orders:billing", "one", "--release")
    shown = told("pending")["pending"]
    assert [(each["id"], each["consumer"], each["deliveries"]) for each in shown] == [(entry_id, "returned", 0)]
    assert told("pending", "--deliveries", "1")["pending"] == []


def test_release_gives_what_silent_consumers_hold_back_to_the_workers(raw: Raw, streams: Callable[..., None]) -> None:
    """Any worker takes it then, and runs it."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 0.05}}}})
    handler("orders", group="billing")(lambda _: None)
    publish(raw, 2)
    states.deliver(consumer="dead")
    wait_until(lambda: len(raw.xpending_range("orders", "billing", "-", "+", 9, idle=50)) == 2)
    with pytest.raises(CommandError, match=r"2 messages of silent consumers would be released.* Nobody can be asked"):
        told("release")
    assert told("release", "--dry-run")["would_be_released"] == 2
    assert told("release", "orders:billing", "--by", "ann", "--no-input")["groups"][0]["released"] == 2
    assert told("release")["groups"][0]["released"] == 0
    drain()
    assert books(raw).acknowledged == 2


# ---------------------------------------------------------------- groups


def test_a_group_is_made_where_it_is_missing(raw: Raw) -> None:
    """Also one that isn't declared, for a client of another language."""
    publish(raw, 2)
    assert told("groups", "create", "orders:node", "--start", "$")["made"]
    assert not told("groups", "create", "orders:node", "--start", "0")["made"]
    assert raw.xreadgroup("node", "c", {"orders": ">"}) == []


@pytest.mark.parametrize("lanes", [False, True], ids=["plain", "lanes"])
def test_a_group_that_is_reset_reads_on_from_there(raw: Raw, streams: Callable[..., None], *, lanes: bool) -> None:
    """It says first what comes again and what is skipped; and a group that is made again begins there too."""
    if lanes:
        streams(LANES)
    ids = publish(raw, 5)
    states.acknowledge()
    again = told("groups", "reset", "orders:billing", "--start", ids[2], "--dry-run")
    assert (again["again"], again["skipped"], again["result"]) == (2, 0, "would_reset")
    assert (
        told("groups", "reset", "orders:billing", "--start", ids[2], "--no-input", "--by", "ann")["position"] == ids[2]
    )
    assert [each.entry_id for each in states.deliver()] == ids[3:]
    publish(raw, 3)
    skipping = told("groups", "reset", "orders:billing", "--start", "$", "--no-input")
    assert (skipping["again"], skipping["skipped"], skipping["result"]) == (0, 3, "reset")
    assert raw.hget("{orders}:groups", "billing") == raw.xrevrange("orders", count=1)[0][0]
    effect = "8 messages again and skips 0 (10,000 stands for that many or more)"
    assert said("groups", "reset", "orders:billing", "--start", "0", "--no-input") == (
        f"orders:billing reads on after 0-0. It gets {effect}. What waits for a retry stays.\n"
    )


@pytest.mark.parametrize("lanes", [False, True], ids=["plain", "lanes"])
def test_a_group_that_is_deleted_leaves_nothing(raw: Raw, streams: Callable[..., None], *, lanes: bool) -> None:
    """Its record goes too, so that no worker makes it again where it was; the stream and its dead letters stay."""
    if lanes:
        streams(LANES)
    publish(raw, 3)
    states.retry()
    publish(raw, 1)
    states.deliver()
    assert refused("groups", "delete", "orders:billing").returncode == 2
    seen = told("groups", "delete", "orders:billing", "--force", "--dry-run")
    assert (seen["pending"], seen["retrying"], seen["redelivered"]) == (1, 3, 0)
    assert seen["result"] == "would_delete"
    assert told("groups", "delete", "orders:billing", "--force", "--no-input")["result"] == "deleted"
    assert raw.xinfo_groups("orders") == []
    assert [each for each in raw.keys("*") if "billing" in each] == []
    assert list(raw.hgetall("{orders}:groups")) == ["billing:deleted"]
    assert raw.xlen("orders") == 4
    assert refused("groups", "reset", "orders:gone", "--start", "0", "--dry-run").returncode == 2


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("xpending", ["delete", "orders:billing", "--force", "--dry-run"]),
        ("xinfo", ["reset", "orders:billing", "--start", "0", "--dry-run"]),
    ],
)
def test_what_may_not_be_looked_at_is_not_told_as_nothing(
    raw: Raw, server: Server, streams: Callable[..., None], command: str, words: list[str]
) -> None:
    """Where an ACL forbids it, the preview is an error instead of a nought."""
    publish(raw, 1)
    states.deliver()
    streams(URL=server.user("limited", "secret", "+@all", f"-{command}", "~*"))
    assert refused("groups", *words).returncode == 1


def test_nobody_at_the_terminal_means_no(raw: Raw, monkeypatch: Any) -> None:
    """What can't be undone is asked for, or said to be wanted."""
    publish(raw, 1)
    states.deliver()
    delete = ("groups", "delete", "orders:billing", "--force")
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    assert "--no-input" in str(refused(*delete))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert told(*delete)["result"] == "not_confirmed"
    assert said(*delete) == "Nothing was done.\n"
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert told(*delete)["result"] == "deleted"


def test_no_confirmation_is_told_from_a_dry_run(raw: Raw, streams: Callable[..., None], monkeypatch: Any) -> None:
    """Also by the other commands that ask, in one word."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 0.01}}}})
    publish(raw, 3)
    states.deliver(consumer="dead")
    wait_until(lambda: len(raw.xpending_range("orders", "billing", "-", "+", 9, idle=10)) == 3)
    reset = ("groups", "reset", "orders:billing", "--start", "0")
    trim = ("trim", "orders", "--maxlen", "1", "--exact", "--force")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    for command, would, done in (
        (("release",), "would_release", "released"),
        (reset, "would_reset", "reset"),
        (trim, "would_trim", "trimmed"),
    ):
        ends = [told(*command, *options)["result"] for options in (["--dry-run"], [], ["--no-input"])]
        assert ends == [would, "not_confirmed", done]


@pytest.mark.parametrize("name", ["orders:", "orders:a{b", "orders"])
def test_a_name_that_no_group_may_have_is_refused(name: str) -> None:
    """It would be a key of another hash slot, or none."""
    assert refused("groups", "create", name, "--start", "0").returncode == 2


# ---------------------------------------------------------------- trim


def test_trim_keeps_what_a_group_needs(raw: Raw) -> None:
    """It says how much is free and how much isn't, removes the one and tells of the other."""
    publish(raw, 300)
    place = Membership(conf.stream("orders"), conf.group("orders", "billing"), "c")
    make_group(connections.get(), place, "0")
    assert told("trim", "orders", "--maxlen", "100", "--exact") == {
        "stream": "orders", "free": 0, "needed": 200, "removed": 0, "result": "trimmed",
    }  # fmt: skip
    states.settle(states.deliver(count=250), Ack())
    seen = told("trim", "orders", "--maxlen", "100", "--exact", "--dry-run")
    assert (seen["free"], seen["needed"], seen["removed"]) == (200, 0, 0)
    assert told("trim", "orders", "--maxlen", "100", "--exact")["removed"] == 200
    assert raw.xlen("orders") == 100


def test_trim_by_force_loses_what_it_says(raw: Raw) -> None:
    """Only when it is confirmed."""
    publish(raw, 300)
    states.deliver(count=1)
    assert "--no-input" in str(refused("trim", "orders", "--maxlen", "100", "--force"))
    seen = told("trim", "orders", "--maxlen", "100", "--exact", "--force", "--no-input")
    assert (seen["needed"], seen["removed"]) == (200, 200)
    assert "stay" not in said("trim", "orders", "--maxlen", "100", "--exact", "--force", "--no-input")


def test_trim_by_age(raw: Raw) -> None:
    """What is older goes, if nobody needs it."""
    for n in range(5):
        raw.xadd("orders", {"n": n}, id=f"{n + 1}-0")
    publish(raw, 2)
    raw.xgroup_create("orders", "billing", "$")
    assert told("trim", "orders", "--max-age", "1h", "--exact")["removed"] == 5
    assert told("trim", "orders", "--max-age", "1h", "--exact", "--force", "--no-input")["removed"] == 0


def test_trim_by_age_tells_that_ids_lie_in_the_future(raw: Raw) -> None:
    """Such entries are of no known age: they stay, and a limit by length removes them."""
    raw.xadd("orders", {"a": "1"}, id="9999999999999-0")
    for group in ("billing", "loyalty", "analytics"):
        states.acknowledge("orders", group)
    assert "ahead of the server's clock" in said("trim", "orders", "--max-age", "0s", "--exact")
    assert raw.xlen("orders") == 1
    assert "ahead" not in said("trim", "orders", "--maxlen", "0", "--exact")
    assert raw.xlen("orders") == 0


def test_trim_without_a_limit_asks_for_one() -> None:
    """There is nothing to trim by."""
    assert refused("trim", "orders").returncode == 2


@pytest.mark.parametrize("words", [["--maxlen", "-1"], ["--maxlen", "all"], ["--max-age", "old"]])
def test_a_limit_that_is_none_is_refused(words: list[str]) -> None:
    """With what was expected."""
    assert "expected" in str(refused("trim", "orders", *words))


# ---------------------------------------------------------------- tables


def test_without_rich_a_table_has_the_same_content(monkeypatch: Any) -> None:
    """Plain columns, one row a line; what could move the cursor is written out."""
    rows = [("orders:billing", "1\x1b[2J"), ("a", "long " * 30)]
    by_rich = list(tables.table(("group", "text"), rows))
    monkeypatch.setitem(sys.modules, "rich", None)
    plain = list(tables.table(("group", "text"), rows))
    assert plain[1].split() == ["orders:billing", "1\\x1b[2J"]
    assert len(plain) == 3
    assert [line.split() for line in by_rich if "─" not in line] == [line.split() for line in plain]


def test_numbers_and_sizes_read_well() -> None:
    """In units that people know, and `unknown` where nobody knows."""
    assert [tables.ago(each) for each in (None, 5, 90, 7200, 172800)] == ["-", "5s", "2m", "2h", "2d"]
    assert [tables.amount(each) for each in (None, 1234, 0.5)] == ["unknown", "1,234", "0.50"]
    assert [tables.size(each) for each in (None, 5, 2048, 5 << 20, 3 << 30)] == [
        "unknown", "5 B", "2.0 KiB", "5.0 MiB", "3.0 GiB",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words", [["--settings", "tests.settings", "status"], ["status", "--settings", "tests.settings"]]
)
def test_djangos_own_options_stand_on_both_sides(words: list[str], server: Server) -> None:
    """Before and after the sub-command."""
    assert "orders" in said(*words)
