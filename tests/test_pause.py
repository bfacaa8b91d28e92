"""Groups that are paused: read by nobody, on record, and read again when resumed."""

import io
import json
import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_redis_streams import connections, inspection
from django_redis_streams.exceptions import UnknownStream
from django_redis_streams.handlers import handler
from django_redis_streams.message import Message
from django_redis_streams.operations import groups
from django_redis_streams.store.consume.groups import paused_since
from django_redis_streams.store.consume.promote import recorded_groups
from django_redis_streams.worker.timing import DEFAULT_TIMING, Timing

from .support import states
from .support.books import books, totals
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import Fleet, drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
PAUSED = "billing:paused"
# A read lasts longer than a test waits: what ends it is the pause.
LONG = Timing(block=100)


def publish(raw: Raw, *numbers: int) -> None:
    """Publish messages with these numbers."""
    pipeline = raw.pipeline(transaction=False)
    for n in numbers:
        pipeline.xadd("orders", {"n": n})
    pipeline.execute()


def pause() -> None:
    """Pause billing."""
    assert groups.pause("orders", "billing", by="ann")


def resume() -> None:
    """Resume it."""
    assert groups.resume("orders", "billing", by="ann")


def reads(raw: Raw) -> int:
    """How often the server was asked to read."""
    return int(raw.info("commandstats").get("cmdstat_xreadgroup", {"calls": 0})["calls"])


def looks(raw: Raw) -> int:
    """How often the server was asked whether a group is paused."""
    return int(raw.info("commandstats").get("cmdstat_hget", {"calls": 0})["calls"])


def wait_for_looks(raw: Raw, count: int = 4) -> None:
    """A paused worker has looked so often again."""
    before = looks(raw)
    wait_until(lambda: looks(raw) >= before + count, "it asks whether it is still paused")


# ---------------------------------------------------------------- the worker


def test_a_paused_group_is_not_read_until_it_is_resumed(raw: Raw, seen: list[str]) -> None:
    """What is published meanwhile waits in the stream, and then is handled."""
    with working(timing=LONG) as worker:
        publish(raw, 1)
        wait_until(lambda: seen == ["1"])
        pause()
        wait_until(lambda: worker.consumer._paused, "it obeys")
        publish(raw, 2, 3)
        before = reads(raw)
        wait_for_looks(raw)
        assert (seen, reads(raw), books(raw).unread) == (["1"], before, 2)
        resume()
        wait_until(lambda: seen == ["1", "2", "3"])


def test_a_paused_group_is_read_in_no_lane(raw: Raw, seen: list[str], streams: Callable[..., None]) -> None:
    """Neither by the script of lanes nor by the read that waits; resumed, it goes on with the most urgent."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {"BATCH_SIZE": 1}}}})
    with working(timing=LONG) as worker:
        publish(raw, 1)
        wait_until(lambda: seen == ["1"])
        pause()
        wait_until(lambda: worker.consumer._paused, "it obeys")
        publish(raw, 2)
        raw.xadd("{orders}:lane:high", {"n": 3})
        before = reads(raw)
        wait_for_looks(raw)
        assert (seen, reads(raw)) == (["1"], before)
        resume()
        wait_until(lambda: seen == ["1", "3", "2"])


def test_a_worker_that_starts_reads_nothing_of_a_paused_group(raw: Raw, seen: list[str]) -> None:
    """It asks before its first read."""
    publish(raw, 1)
    pause()
    before = reads(raw)
    with working() as worker:
        wait_until(lambda: worker.consumer._paused)
        wait_for_looks(raw)
        assert (seen, reads(raw)) == ([], before)


def test_what_is_in_hand_is_finished_and_settled(raw: Raw) -> None:
    """A pause cuts nothing off."""
    began, finish = threading.Event(), threading.Event()

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        began.set()
        finish.wait(20)

    publish(raw, 1)
    with working() as worker:
        assert began.wait(10)
        pause()
        finish.set()
        wait_until(lambda: worker.consumer._paused)
        assert totals(raw) == {"acknowledged": 1}


def test_a_paused_group_claims_nothing(raw: Raw, seen: list[str], streams: Callable[..., None]) -> None:
    """What others left waits too, and is claimed when the group is resumed."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 0.3}}}})
    publish(raw, 1)
    states.deliver(consumer="gone")
    pause()
    with working() as worker:
        wait_until(worker.runner.claiming.stale.is_set, "maintenance has seen it")
        wait_for_looks(raw)
        assert (seen, books(raw).pending) == ([], 1)
        resume()
        wait_until(lambda: seen == ["1"])


def test_a_fast_worker_that_reads_ahead_obeys(raw: Raw) -> None:
    """What was read ahead is run, and nothing is left in its hands."""
    publish(raw, *range(20_000))
    paused: list[bool] = []

    @handler("orders", group="billing")
    def run(message: Message) -> None:
        if int(message.payload["n"]) == 3_000:
            paused.append(groups.pause("orders", "billing", by="a handler"))

    with working() as worker:
        wait_until(lambda: worker.consumer._paused)
        assert paused == [True]
        assert books(raw).pending == len(worker.runner.unacked) == 0
        assert 3_000 < totals(raw)["acknowledged"] < 4_000
        resume()
        wait_until(lambda: totals(raw) == {"acknowledged": 20_000})


def test_a_worker_says_that_it_is_paused_and_that_it_goes_on(
    raw: Raw, seen: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Once each, not at each look: it never idles in silence."""
    caplog.set_level(logging.INFO)
    pause()
    with working():
        wait_until(lambda: "is paused. This worker reads nothing more" in caplog.text)
        wait_for_looks(raw)
        resume()
        wait_until(lambda: "reads its messages again" in caplog.text)
    assert caplog.text.count("reads nothing more") == 1
    assert "orders:billing was paused by 'ann'" in caplog.text
    assert "orders:billing was resumed by 'ann'" in caplog.text


def test_a_retry_of_a_paused_group_is_moved_when_it_is_due(raw: Raw, seen: list[str]) -> None:
    """It waits where it will be read."""
    publish(raw, 1)
    states.retry(delay=0)
    pause()
    with working():
        wait_until(lambda: raw.xlen("{orders}:redelivery:billing") == 1)
        wait_for_looks(raw)
        assert seen == []
        resume()
        wait_until(lambda: seen == ["1"])


def test_drain_ends_where_a_group_is_paused(raw: Raw, seen: list[str]) -> None:
    """It would wait for somebody to resume it."""
    publish(raw, 1)
    pause()
    drain()
    assert (seen, books(raw).unread) == ([], 1)


def test_drain_says_that_a_group_is_paused_and_what_waits(raw: Raw, fleet: Fleet) -> None:
    """In its closing lines; a pause is kept over restarts."""
    publish(raw, 1, 2)
    pause()
    for _ in range(2):
        said = fleet.drain()
        assert said.strip().splitlines()[-2:] == ["orders:billing is paused: 2 unread or pending.", "Stopped."]
    assert fleet.noted("began") == []


def test_while_the_server_refuses_to_say_what_it_said_last_holds(raw: Raw, seen: list[str]) -> None:
    """A refusal pauses nothing, and resumes nothing that somebody has paused."""
    with working() as worker:
        wait_until(lambda: worker.runner.connection.has_read)
        raw.set("{orders}:groups", "of a wrong type")
        publish(raw, 0)
        wait_for_looks(raw, 2)
        publish(raw, 0)
        wait_until(lambda: seen == ["0", "0"])
        raw.delete("{orders}:groups")
        seen.clear()
        pause()
        publish(raw, 1)
        wait_until(lambda: worker.consumer._paused)
        assert seen in ([], ["1"])  # it may have been waiting for one when it was paused
        raw.set("{orders}:groups", "of a wrong type")
        publish(raw, 2)
        wait_for_looks(raw)
        assert "2" not in seen
        raw.delete("{orders}:groups")
        wait_until(lambda: seen == ["1", "2"])


def test_it_is_asked_often_enough() -> None:
    """At least twice a second, so that a resumed group is read within a second."""
    assert DEFAULT_TIMING.look_paused <= 0.5


# ---------------------------------------------------------------- the record


def test_a_pause_is_kept_beside_the_groups_and_is_no_group(raw: Raw) -> None:
    """Since when, by the server's clock; who lists the groups doesn't take it for one."""
    states.deliver()
    pause()
    assert abs(raw.time()[0] - int(raw.hget("{orders}:groups", PAUSED)) / 1_000) < 10
    assert recorded_groups(connections.get(), [states.conf.stream("orders")]) == [["billing"]]
    found = {each.group: each.paused for each in inspection.books("orders")}
    assert set(found) == {"billing", "loyalty", "analytics"}
    assert [group for group, since in found.items() if since] == ["billing"]
    assert groups.is_paused("orders", "billing")
    assert not groups.is_paused("orders", "loyalty")


def test_a_second_pause_keeps_the_first_moment(raw: Raw) -> None:
    """And says that it was so before; so does a second resume."""
    pause()
    raw.hset("{orders}:groups", PAUSED, "5")
    assert not groups.pause("orders", "billing", by="bob")
    assert raw.hget("{orders}:groups", PAUSED) == "5"
    resume()
    assert not groups.resume("orders", "billing", by="bob")


def test_a_group_can_be_paused_at_full_memory(make_server: Callable[..., Server], streams: Any) -> None:
    """That is when somebody wants to."""
    full = make_server(maxmemory="1", maxmemory_policy="noeviction")
    streams(URL=full.url)
    pause()
    assert groups.is_paused("orders", "billing")


@pytest.mark.parametrize(("reply", "since"), [(None, None), ("5", 5), ("", 0), ("soon", 0), ("-5", 0)])
def test_whatever_stands_there_means_paused(reply: str | None, since: int | None) -> None:
    """A foreign hand may write anything."""
    assert paused_since(reply) == since


# ---------------------------------------------------------------- the command


def said(*arguments: str) -> str:
    """What `manage.py streams` says."""
    out = io.StringIO()
    call_command("streams", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_pauses_and_resumes() -> None:
    """Several groups at once, each once; what was so before is said to be."""
    assert said("pause", "orders:billing", "orders:loyalty", "orders:billing") == (
        "orders:billing is paused.\norders:loyalty is paused.\n"
    )
    assert said("pause", "orders:billing") == "orders:billing was paused before.\n"
    assert json.loads(said("resume", "orders:billing", "orders:analytics", "--json")) == {
        "groups": [
            {"stream": "orders", "group": "billing", "changed": True},
            {"stream": "orders", "group": "analytics", "changed": False},
        ]
    }
    assert [each.group for each in inspection.books("orders") if each.paused] == ["loyalty"]


def test_who_did_it_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, or as the system knows them, also where it knows no name."""
    caplog.set_level(logging.INFO)
    said("pause", "orders:billing", "--by", "ann")
    monkeypatch.setattr("getpass.getuser", lambda: "system")
    said("resume", "orders:billing")

    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", nobody)
    said("pause", "orders:billing")
    assert re.findall("by '(.+)'", caplog.text)[:2] == ["ann", "system"]
    assert re.findall("by '(.+)'", caplog.text)[2].isdecimal()


REFUSED = {
    "an unknown stream": ("ordrs:billing", "Stream 'ordrs' isn't declared.*Did you mean 'orders'"),
    "an unknown group": ("orders:biling", "Group 'biling' isn't declared.*Did you mean 'billing'"),
    "a stream alone": ("orders", "'orders': expected stream:group"),
}


@pytest.mark.parametrize(("name", "says"), REFUSED.values(), ids=REFUSED)
def test_an_unknown_name_is_a_clear_error_and_nothing_is_done(name: str, says: str) -> None:
    """Not for the others that are named, either."""
    with pytest.raises(CommandError, match=says) as error:
        said("pause", "orders:loyalty", name)
    assert error.value.returncode == 2
    assert not groups.is_paused("orders", "loyalty")


def test_an_unknown_group_is_an_error_for_python_too() -> None:
    """The functions say it themselves."""
    with pytest.raises(UnknownStream, match="Did you mean 'billing'"):
        groups.pause("orders", "biling", by="ann")


def test_a_server_that_is_away_is_an_error_of_the_command(streams: Any) -> None:
    """With exit code 1."""
    streams(URL="unix:///nowhere/at.all")
    with pytest.raises(CommandError, match="/nowhere/at") as error:
        said("pause", "orders:billing")
    assert error.value.returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [("-v2", "pause", "orders:billing"), ("pause", "orders:billing", "-v2"), ("pause", "-v2", "orders:billing")],
)
def test_djangos_own_options_stand_on_both_sides(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said before the sub-command isn't forgotten after it."""
    from django_redis_streams.management.commands.streams import Command  # noqa: PLC0415  needs the settings

    options = vars(Command().create_parser("manage.py", "streams").parse_args(arguments))
    assert (options["verbosity"], options["traceback"], options["groups"]) == (2, False, ["orders:billing"])
