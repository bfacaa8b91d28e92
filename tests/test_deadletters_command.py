"""`manage.py deadletters`: what is listed, replayed and discarded, at what rate, by whom, and what it ends with."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_redis_streams import connections, inspection
from django_redis_streams.exceptions import InvalidMessage, PayloadTooLarge, ServerUnreachable
from django_redis_streams.operations import dead_letters
from django_redis_streams.operations.dead_letters import Search, Selection
from django_redis_streams.outcomes import Failure, Reason
from django_redis_streams.wire import RedeliveryMetadata, attach_metadata, split_metadata

from .support import states
from .support.servers import Server
from .support.waiting import wait_until

Raw = Any
DLQ, REDELIVERY = "{orders}:dlq", "{orders}:redelivery:billing"


@pytest.fixture(autouse=True)
def _empty(streams: Callable[..., None]) -> None:
    """Begin with an empty server."""


def buried(raw: Raw, count: int = 1, **how: Any) -> list[str]:
    """The ids of so many new dead letters, the oldest first."""
    before = raw.xlen(DLQ)
    states.publish(raw, *({"n": str(number)} for number in range(count)))
    states.bury(**how)
    return [entry_id for entry_id, _ in raw.xrange(DLQ)][before:]


def many(raw: Raw, count: int, *, key: str = DLQ, since: int = 1) -> None:
    """Dead letters of billing written by hand, with ids from `since` on."""
    metadata = attach_metadata(
        RedeliveryMetadata(id="m", source="orders", entry="5-0", group="billing", reason="rejected"), []
    )[1]
    with raw.pipeline(transaction=False) as pipeline:
        for number in range(count):
            pipeline.xadd(key, {"drs": metadata, "n": number}, id=f"{since + number}-0")
        pipeline.execute()


def said(*arguments: str) -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("deadletters", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def ids(*arguments: str) -> list[str]:
    """The ids that it lists, the newest first."""
    return [each["id"] for each in json.loads(said("list", *arguments, "--json"))["dead_letters"]]


def refused(*arguments: str) -> tuple[int, str]:
    """The exit code and the error of a command that fails."""
    with pytest.raises(CommandError) as caught:
        said(*arguments)
    return caught.value.returncode, str(caught.value)


def payloads(raw: Raw) -> list[str]:
    """The numbers of what is in billing's redelivery stream."""
    return [fields["n"] for _, fields in raw.xrange(REDELIVERY)]


# ---------------------------------------------------------------- what is meant


def test_dead_letters_are_listed_newest_first(raw: Raw) -> None:
    """Id, stream, group, reason and error, in columns."""
    first, second = buried(raw, 2)
    lines = said("list").splitlines()
    assert lines[0].split() == ["id", "stream", "group", "type", "reason", "attempts", "age", "error"]
    assert [line.split()[:3] for line in lines[1:]] == [[second, "orders", "billing"], [first, "orders", "billing"]]
    assert lines[1].endswith("ZeroDivisionError: division by zero")


def test_what_fits_all_that_is_said_is_found(raw: Raw) -> None:
    """Stream, group, type, reason, error and words, in whatever case."""
    (plain,) = buried(raw)
    raw.xadd("orders", {"type": "order.late", "n": "9"})
    states.bury(reason=Reason.REJECTED, failure=Failure(handler="shop.x", error="Refused: too late", traceback="T"))
    typed = raw.xrevrange(DLQ, count=1)[0][0]
    foreign = raw.xadd(DLQ, {"a": "1"})
    assert ids() == [foreign, typed, plain]
    assert ids("--stream", "orders", "--group", "billing") == [typed, plain]
    assert ids("--group", "loyalty") == []
    assert ids("--type", "order.late") == ids("--reason", "rejected") == ids("--error", "TOO LATE") == [typed]
    assert ids("--reason", "foreign") == [foreign]
    assert ids("--search", "zerodivisionerror billing") == [plain]
    assert ids("--error", "late", "--reason", "retries exhausted") == []


def test_ids_of_dead_letters_and_of_messages_are_found(raw: Raw) -> None:
    """Those of dead letters at once, others by looking."""
    first, second, _ = buried(raw, 3)
    message = json.loads(said("show", first, "--json"))["dead_letters"][0]["message_id"]
    assert ids(second, first) == [second, first]
    assert ids(message, second) == [second, first]
    assert ids("1-1") == []


def test_dead_letters_are_selected_by_their_age(raw: Raw) -> None:
    """What is older or newer isn't even looked at."""
    now = int(time.time() * 1000)
    for minutes in (180, 60, 1):
        many(raw, 1, since=now - minutes * 60_000)
    old, middle, new = [entry_id for entry_id, _ in raw.xrange(DLQ)]
    assert ids("--older-than", "30m") == [middle, old]
    assert ids("--newer-than", "2h") == [new, middle]
    assert ids("--newer-than", "2h", "--older-than", "90s") == [middle]
    assert ids("--older-than", "99999999w") == []
    assert json.loads(said("list", "--newer-than", "5m", "--json"))["searched"] == 1


def test_a_search_is_bounded_and_says_how_far_it_came(raw: Raw) -> None:
    """And how to go on."""
    many(raw, 30)
    assert said("list", "--type", "x", "--scan", "10").splitlines() == [
        "No dead letter fits.",
        "Searched 10 of 30; go on with --scan N or --all.",
    ]
    assert said("list", "--type", "x", "--all") == "No dead letter fits.\n"
    assert said("list", "--limit", "5").splitlines()[-1] == "Searched 5 of 30; go on with --limit."
    assert said("list", "--scan", "30").count("\n") == 31


def test_ten_thousand_dead_letters_are_listed_in_a_moment(raw: Raw) -> None:
    """With and without looking for a text in all of them."""
    many(raw, 10_000)
    began = time.monotonic()
    assert len(ids()) == 50
    assert ids("--search", "nowhere") == []
    assert time.monotonic() - began < 4


def test_a_text_that_would_deceive_a_terminal_is_written_out(raw: Raw) -> None:
    """Escape sequences do nothing."""
    buried(raw, failure=Failure(handler="h", error="\x1b[2Jgone", traceback="T"))
    assert "\x1b" not in said("list") + said("show", ids()[0])
    assert "\\x1b[2Jgone" in said("list")


def test_all_that_is_known_of_one_is_shown(raw: Raw) -> None:
    """Its error, its traceback, its payload and its fields."""
    (entry_id,) = buried(raw)
    text = said("show", entry_id)
    for line in ("error: ZeroDivisionError: division by zero", "handler: shop.stream_handlers.charge", "  n: 0"):
        assert line in text.splitlines()
    assert refused("show", "1-1") == (1, "There is no dead letter 1-1. `deadletters list` shows the ids.")


def test_that_there_is_nothing_is_no_failure() -> None:
    """It is said in a word."""
    assert said("list") == "There are no dead letters.\n"
    assert said("replay") == said("discard") == "No dead letter fits: nothing to do.\n"


@pytest.mark.parametrize("what", ["list", "replay", "discard"])
def test_a_stream_that_is_not_declared_ends_with_2(what: str) -> None:
    """As arguments that can't work do."""
    code, error = refused(what, "--stream", "order")
    assert code == 2
    assert "'order'" in error


@pytest.mark.parametrize(
    "arguments",
    [["--older-than", "1y"], ["--newer-than", "-1h"], ["--scan", "0"], ["--limit", "x"], ["--scan", "1", "--all"]],
)
def test_arguments_that_cannot_work_are_refused(arguments: list[str]) -> None:
    """By the parser."""
    with pytest.raises(CommandError):
        said("list", *arguments)


@pytest.mark.parametrize("rate", ["0/s", "50/y", "-1", "fast", "50", "1.5/s", "9/d"])
def test_a_rate_that_cannot_be_is_refused(rate: str) -> None:
    """It says what is expected."""
    with pytest.raises(CommandError, match="a second, minute or hour, such as '100/s'"):
        said("replay", "--rate", rate)


# ---------------------------------------------------------------- replaying


def test_what_is_meant_is_replayed_oldest_first(raw: Raw) -> None:
    """Told by whom; nothing else is touched."""
    buried(raw, 3)
    kept = raw.xadd(DLQ, {"a": "1"})
    assert said("replay", "--group", "billing", "--by", "ann", "--no-input") == "3 replayed.\n"
    assert payloads(raw) == ["0", "1", "2"]
    assert json.loads(raw.xrange(REDELIVERY)[0][1]["drs"])["replayed_by"] == "ann"
    assert [entry_id for entry_id, _ in raw.xrange(DLQ)] == [kept]


def test_refusals_end_with_1_and_hold_up_no_others(raw: Raw) -> None:
    """Each is told with its reason."""
    buried(raw)
    foreign = raw.xadd(DLQ, {"a": "1"})
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 refused") as caught:
        call_command("deadletters", "replay", "--json", "--no-input", stdout=out, stderr=io.StringIO())
    told = json.loads(out.getvalue())
    assert caught.value.returncode == 1
    assert (told["replayed"], told["refused"], told["searched"], told["total"]) == (1, 1, 2, 2)
    assert told["refusals"][0]["dead_letter"] == f"orders {foreign}"
    assert payloads(raw) == ["0"]


def test_a_dry_run_does_nothing(raw: Raw) -> None:
    """It says what would be done, and what refused."""
    (entry_id,) = buried(raw)
    raw.xadd(DLQ, {"a": "1"})
    text = said("replay", "--dry-run")
    assert text.splitlines()[0].startswith(f"orders {entry_id} ")
    assert text.splitlines()[-1] == "1 would be replayed, 1 refused."
    assert said("discard", "--dry-run").splitlines()[-1] == "2 would be discarded, 0 refused."
    assert (raw.xlen(DLQ), raw.xlen(REDELIVERY)) == (2, 0)


def test_many_are_not_replayed_unasked(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is, and those that are named by their ids; of many it asks, and where nobody can be asked it is refused."""
    first, second, *_ = buried(raw, 5)
    code, error = refused("replay")
    assert (code, error.partition(" Add ")[0]) == (2, "5 dead letters would be replayed. Nobody can be asked.")
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "no")
    assert refused("replay") == (1, "Nothing was replayed.")
    assert asked == ["5 dead letters would be replayed. Type yes to do it: "]
    assert raw.xlen(DLQ) == 5
    assert said("replay", first, second) == "2 replayed.\n"
    assert said("replay", "--limit", "1").splitlines()[0] == "1 replayed."
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert said("replay") == "2 replayed.\n"


@pytest.mark.parametrize("verb", ["replay", "discard"])
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_an_id_that_is_not_there_is_told(raw: Raw, verb: str, dry_run: list[str]) -> None:
    """The others are replayed or discarded; one that was named twice, or whose message was named, too."""
    entry_id, _ = buried(raw, 2)
    out = io.StringIO()
    with pytest.raises(CommandError) as raised:
        call_command("deadletters", verb, "nosuchid", entry_id, entry_id, "1-1", "--no-input", *dry_run, stdout=out)
    assert (raised.value.returncode, str(raised.value)) == (
        1,
        "No dead letter that fits has the id 'nosuchid', '1-1'.",
    )
    assert out.getvalue().splitlines()[-1].startswith("1 ")
    assert raw.xlen(DLQ) == (2 if dry_run else 1)
    assert refused(verb, entry_id, "--type", "another", "--no-input")[1].endswith(f"has the id {entry_id!r}.")


def test_a_limit_takes_the_oldest(raw: Raw) -> None:
    """The next run takes the next."""
    buried(raw, 5)
    assert said("replay", "--limit", "2", "--no-input").splitlines()[0] == "2 replayed."
    assert payloads(raw) == ["0", "1"]


def test_a_message_that_is_buried_again_during_the_run_is_not_replayed_again_by_it(raw: Raw) -> None:
    """A run ends at what was there when it began."""
    buried(raw, 300)
    done = []
    for one in dead_letters.replay_each(Search(Selection()), by="ann"):
        done.append(one.row.entry_id)
        if len(done) % 100 == 0:
            states.bury()
    assert len(done) == len(set(done)) == 300
    assert raw.xlen(DLQ) == 300


def test_a_search_reads_as_it_is_asked(raw: Raw) -> None:
    """Part by part: the memory that it takes doesn't grow with the queue; none is left out or met twice."""
    many(raw, 5_000)
    raw.config_resetstat()
    look = Search(Selection(), newest_first=True)
    assert [row.entry_id for row in islice(look, 3)] == ["5000-0", "4999-0", "4998-0"]
    assert (look.searched, look.total, look.finished) == (3, 5_000, False)
    assert [row.entry_id for row in Search(Selection())] == [f"{number}-0" for number in range(1, 5_001)]


def test_a_rate_is_kept(raw: Raw) -> None:
    """Twenty at 20/s take the better part of a second."""
    buried(raw, 20)
    began = time.monotonic()
    assert said("replay", "--rate", "20/s", "--no-input") == "20 replayed.\n"
    assert time.monotonic() - began > 0.85


def test_a_lost_server_ends_the_run_with_1(streams: Callable[..., None], make_server: Callable[..., Server]) -> None:
    """What was done is told."""
    server = make_server()
    streams(URL=server.url)
    many(server.raw(), 200)
    done = dead_letters.replay_each(Search(Selection()), by="ann")
    next(done)
    server.stop()
    with pytest.raises(ServerUnreachable):
        list(done)
    assert refused("list")[0] == 1


@pytest.fixture
def process(server: Server) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command as a process of its own."""
    running: list[subprocess.Popen[str]] = []
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.support.worker_settings",
        "TEST_REDIS_URL": server.url,
        "TEST_STREAMS": json.dumps({"orders": {"GROUPS": {"billing": {}}}}),
    }

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "django", "deadletters", *arguments]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # A shell has what it runs in the background ignore Ctrl-C.
        heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
        running.append(subprocess.Popen(command, env=environment, text=True, preexec_fn=heed, **pipes))  # noqa: PLW1509
        return running[-1]

    yield start
    for each in running:
        each.kill()
        each.communicate()


def test_a_run_is_stopped_by_ctrl_c_and_goes_on_where_it_was(raw: Raw, process: Callable[..., Any]) -> None:
    """It says how far it came, ends with 130, and the second run replays none twice."""
    many(raw, 300)
    first = process("replay", "--rate", "100/s", "--no-input")
    wait_until(lambda: raw.xlen(REDELIVERY) >= 20, "it has begun")
    first.send_signal(signal.SIGINT)
    out, errors = first.communicate(timeout=20)
    assert (first.returncode, errors) == (130, "")
    assert out.startswith("Stopped: ")
    done = raw.xlen(REDELIVERY)
    assert 20 <= done < 300
    assert "of 300; run it again to go on." in out
    second = process("replay", "--no-input")
    assert (second.communicate(timeout=60)[0], second.returncode) == (f"{300 - done} replayed.\n", 0)
    assert sorted(map(int, payloads(raw))) == list(range(300))


def test_a_reader_that_has_seen_enough_ends_it(raw: Raw, process: Callable[..., Any]) -> None:
    """`… list | head` leaves no traceback."""
    many(raw, 2_000)
    listing = process("list", "--limit", "2000")
    assert listing.stdout.readline().startswith("id ")
    listing.stdout.close()
    assert listing.wait(30) == 0
    assert listing.stderr.read() == ""


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_a_terminal_is_shown_a_bar(raw: Raw) -> None:
    """It grows with what was looked at; with --json there is none."""
    buried(raw, 30)
    shown, silent = Terminal(), Terminal()
    run = ("deadletters", "replay", "--no-input", "--rate", "50/s")
    call_command(*run, "--type", "none", stdout=io.StringIO(), stderr=silent)
    call_command(*run, stdout=io.StringIO(), stderr=shown)
    buried(raw, 15)
    call_command(*run, "--json", stdout=io.StringIO(), stderr=silent)
    assert "\r[#" in shown.getvalue()
    assert shown.getvalue().endswith(f"[{'#' * 30}] 30 done, 30 of 30 looked at\n")
    assert silent.getvalue() == ""


@pytest.mark.slow
def test_five_hundred_at_fifty_a_second_take_ten_seconds_and_show_progress(
    raw: Raw, process: Callable[..., Any]
) -> None:
    """Lines of progress on standard error, where that is no terminal."""
    many(raw, 500)
    began = time.monotonic()
    out, errors = process("replay", "--rate", "50/s", "--no-input").communicate(timeout=60)
    assert out == "500 replayed.\n"
    assert 9.5 < time.monotonic() - began < 19
    assert "of 500 looked at" in errors
    assert errors.splitlines()[-1] == "500 done, 500 of 500 looked at"


# ---------------------------------------------------------------- another payload


def test_a_message_is_replayed_with_another_payload(raw: Raw) -> None:
    """What was published is kept with it, is shown when it fails again, and over a second edit."""
    (entry_id,) = buried(raw)
    assert said("replay", entry_id, "--payload", '{"n": "7", "more": 1}', "--by", "ann") == "1 edited and replayed.\n"
    carried, fields = split_metadata(connections.get().call("XRANGE", REDELIVERY, "-", "+")[0][1])
    assert (list(fields), carried.edited_by) == (["n", "7", "more", "1"], "ann")
    states.bury()
    (again,) = ids()
    assert said("replay", again, "--payload", '{"n": "8"}', "--by", "bob") == "1 edited and replayed.\n"
    states.bury()
    (row,) = Search(Selection())
    assert json.loads(row.payload) == {"n": "8"}
    assert (json.loads(row.original_payload), row.edited_by) == ({"n": "0"}, "bob")
    assert "original_payload:" in said("show", row.entry_id)


def test_an_envelope_keeps_all_but_its_payload(raw: Raw) -> None:
    """Its id, type, key and headers; also one whose payload wasn't JSON is mended."""
    identity = "0190b5a2-0000-7000-8000-000000000000"
    raw.xadd("orders", {"id": identity, "type": "a.b", "data": "{broken", "key": "k"})
    states.bury(reason=Reason.INVALID)
    said("replay", identity, "--payload", '["fine"]')
    assert states.deliver()[0].fields == ["id", identity, "type", "a.b", "data", '["fine"]', "key", "k"]


@pytest.mark.parametrize("payload", ['{"n": [1]}', "3", '{"n":', '{"n": NaN}', "{}", '{"n": 1, "n": 2}'])
def test_a_payload_that_the_message_cannot_hold_is_refused(raw: Raw, payload: str) -> None:
    """Nothing is done then."""
    (entry_id,) = buried(raw)
    assert refused("replay", entry_id, "--payload", payload)[0] == 2
    assert (raw.xlen(DLQ), raw.xlen(REDELIVERY)) == (1, 0)


def test_a_dry_run_of_an_edit_says_what_the_edit_would_say(raw: Raw) -> None:
    """In words and as JSON, also where the message can't hold the payload; nothing is done."""
    (entry_id,) = buried(raw)
    dry_run = ("replay", entry_id, "--dry-run", "--payload")
    assert said(*dry_run, '{"n": "7"}') == f'orders {entry_id} would be replayed with {{"n": "7"}}\n'
    told = json.loads(said(*dry_run, '{"n": "7"}', "--json"))
    assert (told["would_be_replayed"], told["payload"], told["dead_letter"]["id"]) == (1, {"n": "7"}, entry_id)
    assert refused(*dry_run, '{"n": [1]}')[0] == 2
    assert (raw.xlen(DLQ), raw.xlen(REDELIVERY)) == (1, 0)


def test_a_payload_above_the_limit_is_refused(raw: Raw, streams: Callable[..., None]) -> None:
    """MAX_PAYLOAD holds for an edit as it does for publishing."""
    streams({"orders": {"MAX_PAYLOAD": 100, "GROUPS": {"billing": {}}}})
    (entry_id,) = buried(raw)
    with pytest.raises(PayloadTooLarge):
        dead_letters.replay_edited("orders", entry_id, {"n": "x" * 200}, by="ann")
    with pytest.raises(InvalidMessage):
        dead_letters.replay_edited("orders", entry_id, {"n": {}}, by="ann")


@pytest.mark.parametrize("wrong", [{1: "a", "1": "b"}, {"total": Decimal("NaN")}])
def test_an_edit_is_encoded_as_what_is_published(raw: Raw, wrong: object) -> None:
    """What `publish` refuses, an edit of an envelope is refused for too; the dead letter stays."""
    raw.xadd("orders", {"id": "0190b5a2-0000-7000-8000-000000000000", "data": "{}"})
    states.bury()
    (entry_id,) = ids()
    with pytest.raises(InvalidMessage, match="payload"):
        dead_letters.replay_edited("orders", entry_id, wrong, by="ann")
    assert (raw.xlen(DLQ), raw.xlen(REDELIVERY)) == (1, 0)


def test_a_payload_is_given_to_one_message_only(raw: Raw) -> None:
    """Several that fit, or none, are refused."""
    buried(raw, 2)
    assert refused("replay", "--payload", "{}")[0] == 2
    assert "none fit" in refused("replay", "1-1", "--payload", "{}")[1]


def test_a_payload_is_read_from_standard_input(raw: Raw, process: Callable[..., Any]) -> None:
    """For what is too long for an argument."""
    (entry_id,) = buried(raw)
    running = process("replay", entry_id, "--payload", "-")
    running.communicate('{"n": "from afar"}', timeout=60)
    assert (running.returncode, payloads(raw)) == (0, ["from afar"])


def test_a_payload_is_edited_in_the_editor(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leaves is what is sent; left as it is, or not JSON, nothing is done."""
    (entry_id,) = buried(raw)
    monkeypatch.delenv("VISUAL", raising=False)
    for editor, word in (("true", "wasn't changed"), ("false", "failed"), ("sed -i s/}//", "isn't JSON")):
        monkeypatch.setenv("EDITOR", editor)
        assert word in refused("replay", entry_id, "--edit")[1]
    assert raw.xlen(DLQ) == 1
    monkeypatch.setenv("EDITOR", "sed -i s/0/42/")
    assert said("replay", entry_id, "--edit") == "1 edited and replayed.\n"
    assert payloads(raw) == ["42"]


def test_an_original_that_somebody_else_wrote_breaks_nothing(raw: Raw) -> None:
    """Any client may write to the queue."""
    for original in ("{", "3", '["a"]', '["a", 1]'):
        metadata = attach_metadata(
            RedeliveryMetadata(id="m", source="orders", entry="5-0", group="billing", original=original), []
        )[1]
        raw.xadd(DLQ, {"drs": metadata, "n": 1})
    assert [row.original for row in inspection.dead_letters().rows] == [None] * 4


# ---------------------------------------------------------------- discarding


def test_what_is_meant_is_discarded(raw: Raw) -> None:
    """For good, and counted."""
    buried(raw, 3)
    kept = buried(raw, reason=Reason.REJECTED)
    assert said("discard", "--reason", "retries exhausted", "--no-input") == "3 discarded.\n"
    assert [entry_id for entry_id, _ in raw.xrange(DLQ)] == kept
    assert raw.hget("{orders}:totals:billing", "discarded-dead-letters") == "3"


def test_nothing_is_discarded_unasked(raw: Raw, process: Callable[..., Any]) -> None:
    """Where nobody can be asked, it is refused."""
    buried(raw, 2)
    running = process("discard")
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 2
    assert "2 dead letters would be discarded for good. Nobody can be asked" in errors
    assert raw.xlen(DLQ) == 2


@pytest.mark.parametrize(("answer", "left"), [("yes", 0), ("Y ", 0), ("", 2), ("no", 2), ("yes please", 2)])
def test_somebody_at_a_terminal_is_asked(raw: Raw, monkeypatch: pytest.MonkeyPatch, answer: str, left: int) -> None:
    """The question says how many; only yes, in whatever case, discards."""
    buried(raw, 2)
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answer)
    if left:
        assert refused("discard") == (1, "Nothing was discarded.")
    else:
        assert said("discard") == "2 discarded.\n"
    assert asked == ["2 dead letters would be discarded for good. Type yes to do it: "]
    assert raw.xlen(DLQ) == left


@pytest.mark.parametrize(("verb", "word"), [("discard", "discarded"), ("replay", "replayed")])
def test_who_did_it_is_logged(raw: Raw, caplog: pytest.LogCaptureFixture, verb: str, word: str) -> None:
    """Which, and by whom."""
    (entry_id,) = buried(raw)
    with caplog.at_level(logging.INFO, "django_redis_streams"):
        said(verb, "--by", "ann", *(["--no-input"] if verb == "discard" else []))
    (record,) = [each for each in caplog.records if "Dead letter" in each.getMessage()]
    assert record.getMessage() == f"Dead letter {entry_id} of orders was {word} by 'ann'."


def test_ages_are_told_from_now(raw: Raw) -> None:
    """Bounds are moments, both included."""
    many(raw, 3, since=1_000)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1_001)
    assert [row.entry_id for row in Search(Selection(after=at, before=at))] == ["1001-0"]
