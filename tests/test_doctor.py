"""`manage.py streams doctor`: each finding is provoked on a real server."""

import io
import json
import re
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.db import connections as databases
from redis.exceptions import ResponseError

from django_redis_streams import conf, connections, diagnosis, inspection, publish, publish_many
from django_redis_streams.checks import check_servers
from django_redis_streams.diagnosis import Code, Level, gathering, remembering
from django_redis_streams.diagnosis.servers import server_findings
from django_redis_streams.exceptions import ServerRefused
from django_redis_streams.handlers import handler, registry
from django_redis_streams.inbox.models import InboxMessage
from django_redis_streams.operations import groups
from django_redis_streams.outcomes import Ack, Failure
from django_redis_streams.store.consume.clock import note_jump, server_time
from django_redis_streams.store.consume.groups import make_group
from django_redis_streams.store.consume.membership import Membership
from django_redis_streams.store.consume.presence import ProcessRecord, RunRecord, present_command
from django_redis_streams.store.consume.suspects import suspect
from django_redis_streams.store.observe import streams as streams_module
from django_redis_streams.store.observe.server import Facts
from django_redis_streams.store.scripts import run

from .support import states
from .support.clusters import node_of_two
from .support.servers import Server
from .support.snippets import parser_of
from .support.waiting import wait_until
from .support.workers import Fleet, drain, own_clock, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

Raw = Any
Streams = Callable[..., None]
BILLING = {"orders": {"MAXLEN": 100, "GROUPS": {"billing": {}}}}


def examined(code: int | None = None, *words: str) -> dict[str, Mapping[str, str]]:
    """The findings by their code; the exit code is 1 where there is a fault."""
    out = io.StringIO()
    try:
        call_command("streams", "doctor", "--json", *words, stdout=out)
        ended = 0
    except SystemExit as end:
        ended = int(str(end.code))
    told = json.loads(out.getvalue())
    assert ended == (1 if told["counts"]["fault"] else 0)
    assert code in (None, ended)
    for each in told["findings"]:
        assert all(each.values())
        assert Code(each["code"]).level == each["level"]
    return {each["code"]: each for each in told["findings"]}


def examined_all() -> list[Mapping[str, str]]:
    """All findings, also several of one code."""
    out = io.StringIO()
    with suppress(SystemExit):
        call_command("streams", "doctor", "--json", stdout=out)
    return json.loads(out.getvalue())["findings"]


def hand_back_all(raw: Raw) -> None:
    """What is pending may be claimed at once."""
    ids = [each["message_id"] for each in raw.xpending_range("orders", "billing", "-", "+", 100)]
    raw.xclaim("orders", "billing", "returned", 0, ids, idle=3_600_000, justid=True)


def handled(group: str = "billing") -> None:
    """The group has a handler."""

    @handler("orders", group=group)
    def handle(message: Any) -> None:
        pass


def old(raw: Raw, *seconds_ago: float, key: str = "orders") -> None:
    """Append entries that are so old."""
    seconds, _ = raw.time()
    for ago in seconds_ago:
        raw.xadd(key, {"a": "1"}, id=f"{(seconds - round(ago)) * 1000}-1")


def worked(minutes_ago: int = 0, *, longest: float = 0.01, **figures: int) -> None:
    """Workers of billing counted these figures in one minute."""
    link = connections.get()
    minute = server_time(link) // 60_000 - minutes_ago
    counts = {name.replace("_", "-"): count for name, count in figures.items()}
    for name, count in {**counts, "longest": round(longest * 1_000_000)}.items():
        link.call("HINCRBY", f"{{orders}}:stats:billing:{minute}", name, count)


# ---------------------------------------------------------------- what is in order


def test_a_worker_that_keeps_up_has_nothing_wrong(streams: Streams) -> None:
    """No fault, no warning; what there is, is for information."""
    streams(BILLING)
    handled()
    publish("orders", {"a": 1})
    with working():
        wait_until(lambda: "idle" not in examined(), "the worker's being there")
        found = examined(0)
    assert {each["level"] for each in found.values()} <= {"information"}


def test_no_worker_while_nothing_waits_is_information(streams: Streams) -> None:
    """After a drain all is done: nobody is missed."""
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {"CLAIM_IDLE": 0.001}}}})
    handled()
    publish("orders", {"a": 1})
    drain()
    found = examined(0)
    assert found["idle"]["subject"] == "orders:billing"
    assert {each["level"] for each in found.values()} == {"information"}


def test_people_are_told_message_evidence_and_fix(streams: Streams) -> None:
    """Three lines for each finding, and the sums."""
    streams(BILLING)
    handled()
    groups.pause("orders", "billing", by="ann")
    out = io.StringIO()
    call_command("streams", "doctor", "--level", "warning", stdout=out)
    head, evidence, fix, *_, sums = out.getvalue().splitlines()
    assert head.startswith("WARNING orders:billing: The group is paused")
    assert head.endswith("[paused]")
    assert evidence.startswith("    evidence: It was paused at ")
    assert fix == "    fix: manage.py streams resume orders:billing"
    assert re.fullmatch(r"0 faults, 1 warning, \d for information\.", sums)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("once", [True, False])
def test_a_missing_table_of_the_inbox_is_a_fault(streams: Streams, once: bool) -> None:
    """Where a handler needs it; the fix is the command."""
    streams(BILLING)
    handler("orders", group="billing", once=once)(print)
    assert not {"inbox-missing", "inbox-unasked"} & set(examined())
    with databases["default"].schema_editor() as editor:
        editor.delete_model(InboxMessage)
    try:
        found = examined()
    finally:
        with databases["default"].schema_editor() as editor:
            editor.create_model(InboxMessage)
    assert ("inbox-missing" in found) is once
    if once:
        assert found["inbox-missing"]["subject"] == "database 'default'"
        assert found["inbox-missing"]["evidence"].startswith("With once='default': ")
        fix = "Run `manage.py migrate django_redis_streams_inbox --database=default`."
        assert found["inbox-missing"]["fix"] == fix


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("answer", ["late", "error"])
def test_an_inbox_that_cannot_be_looked_at_is_told_of(
    streams: Streams, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """Its database is away, or hangs and isn't waited for."""
    streams(BILLING)
    handler("orders", group="billing", once=True)(print)
    ended = Event()

    def ask(*_: str) -> bool:
        if answer == "error":
            raise OperationalError("connection refused")
        return ended.wait()

    monkeypatch.setattr(remembering, "has_table", ask)
    monkeypatch.setattr(diagnosis, "_DATABASES_WITHIN", 0.5 if answer == "late" else 30)
    evidence = examined()["inbox-unasked"]["evidence"]
    ended.set()
    told = {"late": "It gave no answer in time.", "error": "OperationalError: connection refused"}
    assert evidence == told[answer]


def test_settings_that_cannot_work_are_an_error(streams: Streams) -> None:
    """There is nothing to be asked then: the error names the setting."""
    streams({"orders": {"MAXLENGTH": 100}})
    with pytest.raises(CommandError, match="MAXLEN"):
        call_command("streams", "doctor")


# ---------------------------------------------------------------- servers


def test_that_nothing_is_declared_is_a_fault(settings: Any) -> None:
    """The misspelt setting is named, where there is one."""
    settings.REDIS_STREAMS = {}
    assert examined(1)["nothing-declared"]["evidence"] == "REDIS_STREAMS has no STREAMS."
    settings.REDIS_STREAM = {"STREAMS": {"orders": {}}}
    del settings.REDIS_STREAMS
    assert examined(1)["nothing-declared"]["evidence"] == "There is a setting REDIS_STREAM, and no REDIS_STREAMS."


def test_a_server_that_is_away_is_a_fault(streams: Streams) -> None:
    """It says which, and asks nothing more of it."""
    streams(BILLING, URL="unix:///no/server/here")
    assert list(examined(1)) == ["unreachable"]


def test_a_silent_server_is_not_waited_for(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts and says nothing: that is the finding, whatever the connection's own time-out is."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        streams(BILLING, URL=f"redis://127.0.0.1:{silent.getsockname()[1]}", OPTIONS={"socket_timeout": 300})
        since = time.monotonic()
        assert list(examined(1)) == ["unreachable"]
        assert time.monotonic() - since < 60


def test_a_server_that_stops_in_between_is_not_waited_for(
    streams: Streams, make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It told what it is, and then hung: an end is set to all of it."""
    server = make_server()
    streams(BILLING, URL=server.url, OPTIONS={"socket_timeout": 300})
    monkeypatch.setattr(gathering, "_WITHIN", 1.0)
    facts = gathering.facts

    def facts_and_stop(link: Any) -> Any:
        found = facts(link)
        server.raw().client_pause(30_000)
        return found

    monkeypatch.setattr(gathering, "facts", facts_and_stop)
    assert "didn't answer within 1 s" in examined(1)["unreachable"]["evidence"]


def test_what_an_acl_forbids_to_ask_is_said(streams: Streams, server: Server) -> None:
    """Without INFO and XINFO neither the server nor the stream is judged, and both are said."""
    url = server.user("half", "blind", "+@all", "-info", "~*")
    streams(BILLING, URL=url)
    assert examined()["unasked"]["subject"] == "connection 'default'"
    streams(BILLING, URL=server.user("half", "blind", "+@all", "-xinfo", "~*"))
    assert examined()["unasked"]["subject"] == "orders"
    server.raw().acl_deluser("half")


def test_a_replica_is_a_fault(streams: Streams, make_server: Callable[..., Server]) -> None:
    """It takes no writes, so nothing can be published there."""
    replica = make_server(replicaof=("127.0.0.1", "1"))
    streams(BILLING, URL=replica.url)
    assert "replica" in examined(1)


def test_a_replica_that_does_not_follow_is_a_warning(streams: Streams, make_server: Callable[..., Server]) -> None:
    """One that asked for everything and hasn't got it isn't online."""
    # The server waits for more replicas before it begins to send.
    server = make_server(repl_diskless_sync="yes", repl_diskless_sync_delay="600")
    streams(BILLING, URL=server.url)
    with socket.socket(socket.AF_UNIX) as replica:
        replica.connect(str(server.socket))
        replica.sendall(b"REPLCONF listening-port 6380 capa eof\r\n")
        assert replica.recv(5) == b"+OK\r\n"
        replica.sendall(b"PSYNC ? -1\r\n")
        found = wait_until(lambda: "no-replica" not in (told := examined()) and told, "the replica's being known")
        assert ":6380" in found["replica-behind"]["message"]


def test_what_a_server_leaves_out_is_said() -> None:
    """One that is hosted may tell less: that isn't taken for good."""
    server = gathering.ServerFacts(connection=conf.connection("default"), told=Facts(None, None, None))
    (finding,) = server_findings(server)
    assert finding.code is Code.UNASKED
    assert finding.evidence == "INFO doesn't tell: version, maxmemory-policy, appendonly, maxmemory, role."


def test_a_full_memory_is_a_fault_and_a_filling_one_a_warning(
    streams: Streams, make_server: Callable[..., Server]
) -> None:
    """What is used is compared with maxmemory."""
    server = make_server(maxmemory_policy="noeviction")
    streams(BILLING, URL=server.url)
    assert "no-maxmemory" in examined()
    used = int(server.raw().info("memory")["used_memory"])
    server.raw().config_set("maxmemory", used // 2)
    assert "memory-full" in examined(1)
    server.raw().config_set("maxmemory", used * 11 // 10)
    assert "memory-fills" in examined()


def test_eviction_is_a_warning_and_a_fault_once_it_happened(
    streams: Streams, make_server: Callable[..., Server]
) -> None:
    """A server that may delete streams, and one that has deleted keys."""
    server = make_server(maxmemory_policy="allkeys-lru")
    streams(BILLING, URL=server.url)
    assert "evicts" in examined(0)
    server.raw().mset({f"key{n}": "x" * 1000 for n in range(1000)})
    server.raw().config_set("maxmemory", int(server.raw().info("memory")["used_memory"]) - 500_000)
    server.raw().set("one", "more")
    wait_until(lambda: "evicted" in examined(), "the eviction")


def test_a_server_without_append_only_file_is_a_warning(streams: Streams, make_server: Callable[..., Server]) -> None:
    """A restart would lose messages; without a replica, so would the host."""
    streams(BILLING, URL=make_server(appendonly="no").url)
    found = examined(0)
    assert {"no-append-only-file", "no-replica"} <= set(found)


def test_a_server_that_cannot_save_is_a_fault(
    streams: Streams, make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """Its directory is gone: the snapshot fails."""
    place = tmp_path / "kept"
    place.mkdir()
    server = make_server(dir=str(place), appendonly="no", logfile="")
    streams(BILLING, URL=server.url)
    shutil.rmtree(place)
    server.raw().bgsave()
    wait_until(lambda: "saving-fails" in examined(), "the failure of the snapshot")


def test_an_old_server_is_a_fault(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    """No older one than the tests' oldest is at hand: the line is drawn above this one instead."""
    monkeypatch.setattr("django_redis_streams.diagnosis.servers._OLDEST", (99, 0))
    streams(BILLING)
    assert "old-server" in examined(1)


def test_an_embedded_server_is_information(streams: Streams, tmp_path: Path) -> None:
    """It is right on the machine of whoever develops, and only there."""
    streams(BILLING, URL=f"embedded://{tmp_path}/streams")
    found = examined(0)
    assert found["embedded"]["level"] == "information"
    assert not {"no-maxmemory", "no-replica", "unasked"} & set(found)


# ---------------------------------------------------------------- streams


def test_a_key_that_holds_something_else_is_a_fault(streams: Streams, raw: Raw) -> None:
    """The server says WRONGTYPE; all else about the stream stays unknown."""
    streams(BILLING)
    raw.set("orders", "text")
    assert "WRONGTYPE" in examined(1)["unreadable"]["evidence"]


def test_a_stream_without_a_bound_is_information(streams: Streams) -> None:
    """It has neither MAXLEN nor MAX_AGE."""
    streams({"orders": {"GROUPS": {"billing": {}}}})
    assert examined(0)["no-limit"]["subject"] == "orders"


def test_a_stream_that_has_no_group_is_never_trimmed(streams: Streams, raw: Raw) -> None:
    """Nobody can tell who is yet to come."""
    streams({"orders": {"MAXLEN": 100}})
    states.publish(raw, {"a": "1"})
    assert "never-trimmed" in examined(0)


def test_who_holds_back_trimming_is_named(streams: Streams, raw: Raw) -> None:
    """A group that nobody declared has read nothing; the stream grows far above MAXLEN."""
    streams(BILLING)
    states.publish(raw, *({"n": "1"} for _ in range(1_200)))
    states.acknowledge()
    while states.deliver():
        states.settle(states.deliver(), Ack())
    raw.xgroup_create("orders", "retired", "0")
    found = examined()
    assert found["longer-than-maxlen"]["message"].endswith("It is held back by: retired.")
    assert found["undeclared-group"]["subject"] == "orders:retired"
    assert "1,200 unread" in found["undeclared-group"]["evidence"]
    assert found["undeclared-group"]["fix"].endswith("manage.py streams groups delete orders:retired.")


def test_a_declared_group_is_never_one_to_delete(streams: Streams, raw: Raw) -> None:
    """What has it catch up is named: a paused one is resumed, one without a worker gets one."""
    handler("orders", group="billing")(print)
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {}}}})
    states.publish(raw, *({"n": "1"} for _ in range(1_200)))
    raw.xgroup_create("orders", "billing", "0")
    fix = examined()["longer-than-maxlen"]["fix"]
    assert fix == "billing has no worker. Start a worker: manage.py runconsumers orders:billing."
    groups.pause("orders", "billing", by="ann")
    fix = examined()["longer-than-maxlen"]["fix"]
    assert fix == "Resume billing: manage.py streams resume orders:billing."


def test_a_worker_that_would_refuse_to_start_is_not_advised(streams: Streams, raw: Raw) -> None:
    """First comes what it would refuse for."""
    streams(BILLING)
    states.publish(raw, {"a": "1"})
    raw.xgroup_create("orders", "billing", "0")
    assert examined()["no-consumer"]["fix"].startswith("Write a handler, then start a worker")


def test_a_long_stream_that_nobody_holds_needs_a_worker(streams: Streams, raw: Raw) -> None:
    """All is read and settled; there was no worker to trim."""
    streams(BILLING)
    states.publish(raw, *({"n": "1"} for _ in range(1_200)))
    raw.xgroup_create("orders", "billing", "$")
    assert "No worker has trimmed it" in examined()["longer-than-maxlen"]["message"]


def test_retries_of_a_group_that_is_gone_are_found(streams: Streams, raw: Raw) -> None:
    """The settings don't name it any more, the server knows it still."""
    states.publish(raw, {"a": "1"})
    states.retry("orders", "loyalty")
    streams(BILLING)
    found = examined()
    assert found["stranded-retries"]["subject"] == "orders:loyalty"


def test_a_renamed_group_is_found_and_its_mend_runs_each_message_once(streams: Streams, raw: Raw) -> None:
    """The doctor's commands are run as printed: first what the old group still has, then the position."""
    runs: list[tuple[str, str]] = []
    for group in ("billing", "invoicing"):
        handler("orders", group=group)(lambda message: runs.append((message.group, message.payload["n"])))
    old = {"orders": {"MAXLEN": 100, "GROUPS": {"billing": {}}}}
    streams(old)
    states.publish(raw, {"n": "1"})
    drain()
    states.publish(raw, {"n": "2"})
    states.deliver(consumer="dead")
    hand_back_all(raw)
    states.forget_consumers(raw)
    states.publish(raw, {"n": "3"})
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"invoicing": {}}}})
    found = examined()["group-renamed"]
    assert found["subject"] == "orders:invoicing"
    assert "pending: 1;" in found["evidence"]
    assert "manage.py runconsumers orders:billing --drain" in found["fix"]
    assert "groups delete" not in found["fix"]
    streams(old)
    drain()
    states.publish(raw, {"n": "4"})
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"invoicing": {}}}})
    states.forget_consumers(raw)
    create, delete = re.findall(r"manage\.py ([^;.]+)", examined()["group-renamed"]["fix"])
    assert create.startswith("streams groups create orders:invoicing --start ")
    call_command(*create.split())
    call_command(*delete.split(), "--no-input")
    assert "group-renamed" not in examined()
    drain("orders", "invoicing")
    assert sorted(runs) == [("billing", "1"), ("billing", "2"), ("billing", "3"), ("invoicing", "4")]


def test_a_group_that_somebody_serves_or_never_served_was_not_renamed(streams: Streams, raw: Raw) -> None:
    """Another client's group is none; a group that was given something is on its way; one with workers is stopped."""
    streams(BILLING)
    states.publish(raw, {"n": "1"})
    raw.xgroup_create("orders", "of another client", "$")
    assert "group-renamed" not in examined()
    states.acknowledge()
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"invoicing": {}}}})
    assert "stop the consumers of orders:billing (tested)" in examined()["group-renamed"]["fix"]
    raw.xgroup_create("orders", "invoicing", "0")
    assert "begins at the beginning" in examined()["group-renamed"]["message"]
    states.acknowledge("orders", "invoicing")
    assert "group-renamed" not in examined()


def test_no_other_advice_comes_before_what_a_renaming_needs(streams: Streams, raw: Raw) -> None:
    """A worker of the new group would run the history again, and the old one has the position."""
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {}, "loyalty": {}}}})
    states.publish(raw, {"n": "1"})
    states.acknowledge()
    states.acknowledge("orders", "loyalty")
    states.publish(raw, {"n": "2"})
    states.forget_consumers(raw)
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"invoicing": {}, "loyalty": {}}}})
    fixes = {(each["code"], each["subject"]): each["fix"] for each in examined_all()}
    first = "First do what group-renamed says of it. Then: "
    assert fixes["no-consumer", "orders:invoicing"].startswith(first)
    assert fixes["group-missing", "orders:invoicing"].startswith(first)
    assert fixes["undeclared-group", "orders:billing"].startswith(first)
    assert fixes["group-renamed", "orders:invoicing"].startswith("If so, before a worker of the new group starts: ")
    told = {subject for (_, subject), fix in fixes.items() if fix.startswith(first)}
    assert told == {"orders:billing", "orders:invoicing"}


def test_a_stream_that_was_renamed_or_moved_is_found(
    streams: Streams, raw: Raw, server: Server, make_server: Callable[..., Server], settings: Any
) -> None:
    """With what waits in it, as long as nobody reads it."""
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {"CLAIM_IDLE": 0.001}}}})
    states.publish(raw, {"n": "1"}, {"n": "2"})
    states.bury()
    states.publish(raw, {"n": "3"})
    states.delay("4")
    streams({"purchases": {"MAXLEN": 100, "GROUPS": {"billing": {}}}})
    assert "stream-renamed" not in examined()  # a consumer was just there
    states.forget_consumers(raw)
    found = examined()["stream-renamed"]
    assert found["subject"] == "orders"
    assert "3 entries, 1 delayed messages and 2 dead letters." in found["evidence"]
    assert re.search(r"(1|An unknown number of) messages wait for group billing", found["evidence"])  # Redis 6.2
    other = make_server()
    settings.REDIS_STREAMS = {
        "CONNECTIONS": {"default": {"URL": other.url}, "old": {"URL": server.url}},
        "STREAMS": {"orders": {"GROUPS": {"billing": {}}}},
    }
    assert "On connection 'old'" in examined()["stream-renamed"]["evidence"]
    settings.REDIS_STREAMS["CONNECTIONS"]["old"]["KEY_PREFIX"] = "staging"
    streams({"orders": {"GROUPS": {"billing": {}}}})
    assert "stream-renamed" not in examined()


def test_a_stream_is_told_by_its_name_without_the_prefix(streams: Streams, raw: Raw) -> None:
    """Streams of other prefixes are other projects'; one that holds nothing needs no mend."""
    streams({"orders": {"GROUPS": {"billing": {}}}}, KEY_PREFIX="st*ging")
    states.publish(raw, {"n": "1"}, stream="st*ging:orders")
    states.publish(raw, {"n": "1"}, stream="st-ging:orders")
    raw.hset("{st-ging:orders}:groups", "billing", "0")
    raw.hset("{st*ging:orders}:groups", "billing", "0")
    raw.hset("{st*ging:empty}:groups", "billing", "0")
    streams({"purchases": {"GROUPS": {"billing": {}}}}, KEY_PREFIX="st*ging")
    assert [each["subject"] for each in examined_all() if each["code"] == "stream-renamed"] == ["orders"]


def test_what_was_not_searched_for_streams_is_information(
    streams: Streams, raw: Raw, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an ACL, for a key of another kind, or for a server with too many keys."""
    streams(BILLING)
    raw.set("{other}:delayed", "of another kind")
    assert "WRONGTYPE" in examined()["not-searched"]["evidence"]
    raw.delete("{other}:delayed")
    assert "not-searched" not in examined()
    streams(BILLING, URL=server.user("no-scan", "secret", "~*", "+@all", "-scan"))
    assert "scan" in examined()["not-searched"]["evidence"].lower()
    streams(BILLING)
    raw.mset({f"cache:{n}": "" for n in range(5_000)})
    monkeypatch.setattr(streams_module, "_STEPS", 1)
    assert "too many keys" in examined()["not-searched"]["evidence"]


def test_what_is_left_in_a_lane_is_found(streams: Streams, raw: Raw) -> None:
    """LANES names it no more, and it isn't empty."""
    streams({"orders": {"LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
    publish("orders", {"a": 1}, lane="high")
    states.deliver()
    streams(BILLING)
    assert "lane 'high'" in examined()["left-in-lane"]["message"]


def test_a_hard_bound_is_one(streams: Streams, raw: Raw) -> None:
    """A stream that whoever publishes cuts needs no other, and no group."""
    streams({"orders": {"HARD_MAXLEN": 100}})
    states.publish(raw, {"a": "1"})
    assert not {"no-limit", "never-trimmed"} & set(examined())


def test_a_hard_bound_that_large_nodes_exceed_is_a_warning(
    streams: Streams, make_server: Callable[..., Server]
) -> None:
    """Publishing removes whole nodes, unless it is told to be exact."""
    own = make_server(stream_node_max_entries="20000", stream_node_max_bytes="0")
    streams({"orders": {"HARD_MAXLEN": 100}}, URL=own.url)
    for _ in range(12):
        publish_many("orders", [1] * 100)
    assert "It holds 1,200 entries" in examined(0)["longer-than-hard-maxlen"]["evidence"]
    streams({"orders": {"HARD_MAXLEN": 100, "EXACT_TRIM": True}}, URL=own.url)
    publish("orders", 1)
    assert own.raw().xlen("orders") == 100
    assert "longer-than-hard-maxlen" not in examined(0)


def test_what_others_did_to_a_group_is_information(streams: Streams, raw: Raw) -> None:
    """What the books have left over, with its number and what does such a thing."""
    if "entries-added" not in raw.xinfo_stream(states.publish(raw, {"a": "1"}) and "orders"):
        pytest.skip("Redis before 7.0 doesn't count what a stream ever got")
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {}}}})
    handled()
    states.acknowledge()
    raw.xgroup_setid("orders", "billing", "0")
    found = examined()["done-by-others"]
    assert found["evidence"] == "Its books, since ever: 1 moved-back."
    assert "XGROUP SETID" in found["message"]


def test_a_group_that_was_deleted_is_missing_on_purpose(streams: Streams, raw: Raw) -> None:
    """It is told who did it."""
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {}}}})
    handled()
    states.publish(raw, {"a": "1"})
    states.acknowledge()
    groups.delete("orders", "billing", by="ann", force=True)
    assert examined(1)["group-missing"]["evidence"].endswith("it was deleted by 'ann'.")


def test_messages_that_somebody_deleted_are_information(streams: Streams, raw: Raw) -> None:
    """A worker met an entry without a body, and counted it."""
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {"CLAIM_IDLE": 0.001}}}})
    handled()
    (entry,) = states.publish(raw, {"a": "1"})
    states.deliver(consumer="deceased")
    raw.xdel("orders", entry)
    drain()
    assert "1 of billing" in examined()["vanished"]["evidence"]


def test_dead_letters_are_information(streams: Streams, raw: Raw) -> None:
    """They wait for somebody, and no worker is missed."""
    streams(BILLING)
    states.publish(raw, {"a": "1"})
    states.bury()
    assert examined()["dead-letters"]["level"] == Level.INFORMATION


def test_retries_and_delayed_messages_that_are_overdue_are_a_fault(streams: Streams, raw: Raw) -> None:
    """Their time has come, and nobody promotes them."""
    streams(BILLING)
    states.publish(raw, {"a": "1"})
    states.retry(delay=0)
    publish("orders", {"a": 2}, delay=60)
    keys = conf.stream("orders").keys
    assert "overdue" not in examined()
    for key in (keys.delayed, keys.retry("billing")):
        for member, _ in raw.zrange(key, 0, -1, withscores=True):
            raw.zadd(key, {member: (raw.time()[0] - 60) * 1000})
    told = examined(1)["overdue"]["evidence"]
    assert "1 retries of billing" in told
    assert "1 delayed messages" in told


def test_a_clock_that_jumped_is_a_warning(streams: Streams, raw: Raw) -> None:
    """For a day after workers saw it; and as long as something shows that it went back."""
    streams(BILLING)
    handled()
    with working():
        publish("orders", {"a": 1})
        wait_until(lambda: inspection.group_totals("orders", "billing"))
        wait_until(lambda: raw.hget("{orders}:clock", "seen"))
    assert "clock-jumped" not in examined()
    now, keys = server_time(connections.get()), conf.stream("orders").keys
    raw.hset(keys.clock, "seen", now + 120_000)
    assert "than a worker or publisher saw before" in examined()["clock-jumped"]["evidence"]
    raw.hset(keys.clock, "seen", now)
    note_jump(connections.get(), keys, -120_500)
    assert "It went back by 120.5 s, at 20" in examined()["clock-jumped"]["evidence"]
    note_jump(connections.get(), keys, 3_600_000)
    assert "It jumped ahead by 3,600.0 s" in examined()["clock-jumped"]["evidence"]
    raw.hset(keys.clock, "jumped", now - 86_400_001)
    assert "clock-jumped" not in examined()


def test_ids_in_the_future_are_a_warning_with_a_mend_that_loses_nothing(streams: Streams, raw: Raw) -> None:
    """The commands of the finding are run as printed, while others publish; then all is as it was before."""
    streams({"orders": {"MAX_AGE": 60, "LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
    runs: list[str] = []
    handler("orders", group="billing")(lambda message: runs.append(message.payload["n"]))
    states.publish(raw, {"n": "1"})
    raw.xgroup_create("orders", "other", "0")
    last = raw.xadd("orders", {"n": "2"}, id="9999999999999-0")
    read = raw.xreadgroup("other", "program", {"orders": ">"})
    raw.xack("orders", "other", *(entry_id for entry_id, _ in read[0][1]))
    found = examined()["ids-in-future"]
    assert found["subject"] == "orders"
    assert f"The last id is {last} in orders." in found["evidence"]
    assert "MAX_AGE doesn't trim them" in found["message"]
    assert "clock-jumped" not in examined()
    drain()
    trim, setid, *resets = re.findall(r"(?:manage\.py streams (?:trim|groups)|XSETID) [^;,]+(?<!\.)", found["fix"])
    call_command(*trim.removeprefix("manage.py ").split())
    raw.execute_command(*setid.split())
    states.publish(raw, {"n": "3"})
    assert len(resets) == 2
    for each in resets:
        call_command(*each.removeprefix("manage.py ").split(), "--no-input")
    states.publish(raw, {"n": "4"})
    drain()
    assert runs == ["1", "2", "3", "4"]
    assert "ids-in-future" not in examined()
    assert "done-by-others" not in examined()
    assert inspection.books("orders")[0].missing in (0, None)


def test_with_lanes_producers_stop_before_ids_begin_anew(streams: Streams, raw: Raw) -> None:
    """A reset is of all lanes: it would pass over what comes to one whose ids are right."""
    streams({"orders": {"LANES": ["urgent", "default"], "GROUPS": {"billing": {}}}})
    handled()
    raw.xadd("orders", {"a": "1"}, id="9999999999999-0")
    fix = examined()["ids-in-future"]["fix"]
    assert fix.index("stop its producers") < fix.index("streams trim") < fix.index("groups reset")
    assert fix.endswith("start the producers again.")


def test_a_backlog_whose_age_nobody_knows_is_found(streams: Streams, raw: Raw) -> None:
    """By its number; that it is of an unknown age is said."""
    streams(BILLING)
    handled()
    raw.xadd("orders", {"a": "1"}, id="9999999999999-0")
    assert "unknown age" in examined(1)["no-consumer"]["evidence"]


def test_ids_a_little_ahead_are_right_again_by_waiting(streams: Streams, raw: Raw) -> None:
    """As after a clock that went back."""
    streams(BILLING)
    raw.xadd("orders", {"a": "1"}, id=f"{server_time(connections.get()) + 3_600_000}-0")
    assert re.search(r"Wait for 3,(600|5\d\d) s\b", examined()["ids-in-future"]["fix"])


@pytest.mark.parametrize(("ahead", "told"), [(3_600, "3,600 s more"), (-120, "120 s less")])
def test_a_server_with_another_time_is_a_warning(
    streams: Streams, make_server: Callable[..., Server], ahead: int, told: str
) -> None:
    """What is published with `at=` comes early or late."""
    own = make_server(own_clock=True)
    streams(BILLING, URL=own.url)
    assert "clock-differs" not in examined()
    own.set_clock(ahead)
    # By so much at least: the question and its answer may take long.
    wait_until(lambda: told in examined().get("clock-differs", {"evidence": ""})["evidence"])


@pytest.mark.parametrize(("off", "told"), [("-600", r"6[0-5]\d s less"), ("+600", r"(600|5[5-9]\d) s more")])
def test_a_worker_whose_clock_is_wrong_is_a_warning(
    streams: Streams, raw: Raw, fleet: Fleet, off: str, told: str
) -> None:
    """It is named; what it did is in the minute in which it was done nevertheless."""
    streams(BILLING)
    fleet.streams = BILLING
    worker = fleet.start(**own_clock(off))
    found = wait_until(lambda: examined().get("worker-clock-differs"))
    (pid,) = fleet.children(worker)
    assert re.search(rf"{re.escape(socket.gethostname())}, pid {pid}: {told}\.", found["evidence"])
    states.publish(raw, {"do": "nothing"})
    wait_until(lambda: inspection.activity().of("orders", "billing").last(2).acknowledged == 1)  # type: ignore[union-attr]
    assert "clock-differs" not in examined()
    worker.terminate()
    fleet.finish(worker)
    assert "worker-clock-differs" not in examined()


def test_a_worker_whose_clock_is_right_is_in_order(streams: Streams) -> None:
    """However long a command was under way."""
    streams(BILLING)
    handled()
    with working():
        wait_until(lambda: inspection.workers().processes)
        assert "worker-clock-differs" not in examined()


@pytest.fixture
def node(make_server: Callable[..., Server]) -> Server:
    """A node of a cluster of two: "orders" is on it, "tasks" on the other."""
    return node_of_two(make_server)


def test_a_node_of_a_cluster_is_named(node: Server, streams: Streams) -> None:
    """It serves the streams of its own slots; of the others, errors and findings say where they are."""
    streams({"orders": {"GROUPS": {"billing": {}}}, "tasks": {}}, URL=node.url)
    publish("orders", {})
    for options in ({}, {"delay": 60}):
        with pytest.raises(ServerRefused, match="is a node of a cluster, and not all keys of the command are on it"):
            publish("tasks", {}, **options)
    found = examined(1)
    assert "is a node of a cluster" in found["cluster"]["message"]
    assert "another node of a cluster" in found["unreadable"]["message"]
    assert [each.id[-4:] for each in check_servers() if "cluster" in each.msg] == ["W035"]
    with pytest.raises(ResponseError, match="is a node of a cluster"):
        connections.get().call("MSET", "orders", "1", "other", "2")


# ---------------------------------------------------------------- groups


def test_a_lane_that_no_worker_reads_is_a_fault(streams: Streams, raw: Raw) -> None:
    """A worker that was started before the lane was declared goes on, and what is published there waits for good."""
    streams(BILLING)
    handled()
    with working() as worker:
        wait_until(lambda: inspection.workers().processes and worker.runner.connection.has_read)
        assert "unserved-lane" not in examined(0)
        streams({"orders": {"MAXLEN": 100, "LANES": ["high", "default", "low"], "GROUPS": {"billing": {}}}})
        raw.xadd("{orders}:lane:high", {"a": "1"})
        wait_until(lambda: inspection.workers().processes)
        found = examined(1)["unserved-lane"]
        assert "No worker reads lanes high, low" in found["message"]
        assert "say that they read default" in found["evidence"]
        with working(name="restarted") as restarted:
            wait_until(lambda: len(inspection.workers().processes) == 2 and restarted.runner.connection.has_read)
            assert "unserved-lane" not in examined()


def test_a_lane_that_another_client_may_read_is_no_fault(streams: Streams, raw: Raw) -> None:
    """Nobody knows which lanes that reads."""
    streams(BILLING)
    handled()
    with working() as worker:
        wait_until(lambda: inspection.workers().processes and worker.runner.connection.has_read)
        streams({"orders": {"MAXLEN": 100, "LANES": ["high", "default"], "GROUPS": {"billing": {}}}})
        wait_until(lambda: inspection.workers().processes)
        raw.xadd("{orders}:lane:high", {"a": "1"})
        raw.xgroup_create("{orders}:lane:high", "billing", "0")
        raw.xreadgroup("billing", "node-1", {"{orders}:lane:high": ">"})
        assert "unserved-lane" not in examined()


def ran(seconds: float, *, timeout: float | None = 600) -> None:
    """A worker says that its handler runs for so long."""
    stream = conf.stream("orders")
    run_ = RunRecord("billing", "web-7-0", "m-1", "shop.charge", round(seconds * 1000), timeout, 1)
    record = ProcessRecord(
        "web", 7, 900_000, 1, quarantine=False, lanes=stream.lane_names, groups={"billing": 1}, runs=[run_]
    )
    link = connections.get()
    make_group(link, Membership(stream, stream.groups["billing"], ""), "0")
    run(link, present_command(stream, "web-7", server_time(link), record, {"billing": ["web-7-0"]}))


def test_a_long_run_is_told_as_what_it_is(streams: Streams, raw: Raw) -> None:
    """Its message, its handler, for how long of how much: the consumer isn't silent, and holds nothing up."""
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {"CLAIM_IDLE": 0.01}}}})
    handled()
    old(raw, 400, 399, 398)
    states.deliver(count=1, consumer="web-7-0")
    ran(15)
    assert "long-runs" not in examined(0)
    ran(75)
    wait_until(lambda: raw.xinfo_consumers("orders", "billing")[0]["idle"] > 100)
    found = examined(0)
    assert re.search(r"shop\.charge runs m-1 for (7[5-9]|8\d) s of TIMEOUT 600", found["long-runs"]["message"])
    assert "web-7-0" in found["long-runs"]["evidence"]
    assert not {"standstill", "held-by-dead", "no-consumer"} & {*found}
    ran(301, timeout=None)
    assert re.search(r"shop\.charge runs m-1 for 3[01]\d s without a TIMEOUT", examined(1)["standstill"]["evidence"])


def test_a_module_of_handlers_that_fails_is_a_fault(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it raises is told."""
    streams(BILLING)

    def fail() -> None:
        raise RuntimeError("no such gateway")

    monkeypatch.setattr(registry._registry, "modules", fail)
    assert examined(1)["handlers-fail"]["evidence"] == "RuntimeError: no such gateway"


def test_messages_that_nobody_consumes_are_a_fault(streams: Streams, raw: Raw) -> None:
    """They wait; the group isn't there yet, has no handler, and no worker runs."""
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {"START": "$"}}}})
    old(raw, 90)
    found = examined(1)
    assert "1 unread" in found["no-consumer"]["message"]
    assert re.search(r"\b9\d s old", found["no-consumer"]["evidence"])
    assert "at START '$'" in found["group-missing"]["message"]
    assert found["group-missing"]["fix"].endswith("manage.py streams groups create orders:billing --start $.")
    assert "no-handler" in found


def test_a_paused_group_is_a_warning(streams: Streams, raw: Raw) -> None:
    """Messages wait, and that is meant: no consumer is missed."""
    streams(BILLING)
    states.publish(raw, {"a": "1"})
    groups.pause("orders", "billing", by="ann")
    found = examined(0)
    assert "1 unread" in found["paused"]["message"]
    assert found["paused"]["fix"] == "manage.py streams resume orders:billing"


def test_messages_of_dead_consumers_are_found(streams: Streams, raw: Raw) -> None:
    """They are pending for one that was silent for long."""
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {"CLAIM_IDLE": 0.01}}}})
    states.publish(raw, {"a": "1"}, {"a": "2"})
    states.deliver(consumer="deceased")
    raw.zadd("{orders}:workers:billing", {"deceased": 0})  # when its process last said that it is there
    wait_until(lambda: "held-by-dead" in examined(), "the silence")
    found = examined(1)
    assert "1 dead consumers hold 2 messages: deceased" in found["held-by-dead"]["message"]
    assert "manage.py streams release orders:billing" in found["held-by-dead"]["fix"]


def test_suspects_are_a_warning(streams: Streams, raw: Raw) -> None:
    """A message that may have ended its worker waits for quarantine."""
    streams(BILLING)
    states.publish(raw, {"a": "1"})
    (delivery,) = states.deliver()
    place = Membership(conf.stream("orders"), conf.group("orders", "billing"), "tested")
    assert suspect(connections.get(), place, delivery, handler="shop.charge", how="signal 9") == 0
    assert "1 messages" in examined()["suspects"]["message"]


def test_consumers_that_run_nothing_are_a_fault(streams: Streams, raw: Raw) -> None:
    """They are there, messages wait for long, and there was no run."""
    streams(BILLING)
    handled()
    old(raw, 400, 399, 398)
    states.deliver(count=1)
    assert re.search("no run in the last (9|10) minutes", examined(1)["standstill"]["evidence"])
    worked(runs=1, acknowledged=1)
    assert "standstill" not in examined()


def test_messages_that_pile_up_are_a_warning(streams: Streams, raw: Raw) -> None:
    """At the rate of late, what waits takes too long."""
    streams(BILLING)
    handled()
    old(raw, *range(1_000, 700, -1))
    states.deliver(count=1)
    worked(3, runs=20, acknowledged=20)
    told = examined()["behind"]["evidence"]
    assert "298 are unread" in told or "can't tell how many" in told
    (billing,) = inspection.overview().streams[0].groups
    if billing.unread is not None:  # Redis 6.2 doesn't know
        worked(2, runs=2000, acknowledged=2000)
        assert "behind" not in examined()


@pytest.mark.parametrize(("runs", "longest"), [(1, 2.0), (1000, 301.0)])
def test_slow_handlers_are_a_warning(streams: Streams, runs: int, longest: float) -> None:
    """All of them are, or one run came near TIMEOUT."""
    streams(BILLING)
    worked(20, longest=longest, runs=runs, acknowledged=runs, microseconds=round(longest * 1_000_000))
    assert f"the longest {longest:.1f} s" in examined()["slow-handlers"]["evidence"]


def test_runs_that_fail_and_dead_letters_that_grow_are_warnings(streams: Streams, raw: Raw) -> None:
    """Some are nothing to speak of; many are, as long as dead letters of the group are kept."""
    streams({"orders": {"MAXLEN": 100, "GROUPS": {"billing": {}, "loyalty": {}}}})
    states.publish(raw, {"a": "1"})
    states.bury()
    states.bury("orders", "loyalty")
    worked(5, runs=7000, acknowledged=6900, retried=24, dead_lettered=8)
    assert not {"failing", "dead-letters-grow"} & set(examined())
    worked(4, runs=9000, retried=6000, dead_lettered=3000)
    found = examined()
    assert "6,024 of 16,000 runs" in found["failing"]["evidence"]
    assert "3,008 of 9,908" in found["dead-letters-grow"]["evidence"]
    call_command("deadletters", "discard", "--group", "billing", "--no-input")
    found = examined()
    assert "dead-letters-grow" not in found
    assert "dead-letters" in found


def test_that_all_fails_is_a_fault_with_the_error_s_text(streams: Streams, raw: Raw) -> None:
    """Of a dead letter, or of a retry; and it isn't said in other words once more."""
    streams(BILLING)
    states.publish(raw, {"n": "1"})
    states.retry(failure=Failure(error="OSError: the gateway\x1b is down"))
    worked(3, runs=200, retried=200)
    found = examined()
    assert found["all-fail"]["evidence"].endswith("The newest error: OSError: the gateway\\x1b is down")
    assert "200 runs failed (0 dead letters)" in found["all-fail"]["evidence"]
    assert not {"failing", "dead-letters-grow"} & set(found)
    states.publish(raw, {"n": "2"})
    states.bury(failure=Failure(error="KeyError: 'vat'"))
    worked(2, runs=200, dead_lettered=200)
    assert examined()["all-fail"]["evidence"].endswith("The newest error: KeyError: 'vat'")
    worked(2, runs=30, acknowledged=30)
    assert "all-fail" not in examined()


# ---------------------------------------------------------------- all of them


def test_each_kind_of_finding_is_provoked() -> None:
    """This file names each of them, or one of those about the outbox, replicas and clusters does."""
    here = Path(__file__)
    names = (here.name, "test_outbox_figures.py", "test_replicas.py", "test_cluster_doctor.py")
    text = "".join(here.with_name(name).read_text() for name in names)
    assert [each.value for each in Code if f'"{each.value}"' not in text] == []


def test_mends_name_what_is_there() -> None:
    """Each command that a finding proposes is one, and each setting too."""
    package = Path(gathering.__file__).parent
    text = "".join(path.read_text() for path in package.glob("*.py"))
    commands = {
        name: [action for action in parser_of(name)._actions if action.dest == "subcommand"]
        for name in ("streams", "deadletters")
    }
    found = re.findall(r"manage\.py (streams|deadletters) ([a-z]+)", text)
    assert len(found) > 10
    for name, word in found:
        assert word in commands[name][0].choices
