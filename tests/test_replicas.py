"""MIN_REPLICAS: what is published is safe on replicas, or it is told, kept by the outbox and never sent twice."""

import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from django.core.checks import run_checks
from django.db import transaction

from django_redis_streams import connections as servers
from django_redis_streams import publish, publish_many, signals
from django_redis_streams.diagnosis import diagnose
from django_redis_streams.exceptions import NotReplicated
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.outbox.relay import Relay
from django_redis_streams.outbox.standing import ON_TOO_FEW
from django_redis_streams.store.publish import replicas
from django_redis_streams.testing import isolated

from .support.servers import Server
from .support.waiting import wait_until

Streams = Callable[..., None]
WAITS = {"MIN_REPLICAS": 1, "REPLICA_TIMEOUT": 0.1}


class Pair(NamedTuple):
    """A server and the replica that follows it."""

    primary: Server
    replica: Server

    def ids(self) -> list[str]:
        """The ids of the messages on the stream."""
        return [fields["id"] for _, fields in self.primary.raw().xrange("orders")]


@pytest.fixture
def pair(make_server: Callable[..., Server], streams: Streams) -> Pair:
    """Both, connected; the stream waits for one replica."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    primary = make_server(port=port, repl_diskless_sync_delay="0")
    replica = make_server(replicaof=("127.0.0.1", port))
    streams({"orders": WAITS}, URL=primary.url)
    wait_until(lambda: replica.raw().info("replication")["master_link_status"] == "up")
    replicas._in_vain.clear()
    return Pair(primary, replica)


@pytest.fixture
def outbox(pair: Pair, streams: Streams) -> Iterator[Pair]:
    """As `pair`, with an outbox."""
    streams({"orders": {**WAITS, "OUTBOX": "always"}}, URL=pair.primary.url)
    yield pair
    OutboxMessage.objects.all().delete()


@pytest.fixture
def failed() -> Iterator[list[Any]]:
    """The errors of `publish_failed` and `publish_postponed`, by message."""
    found: list[Any] = []

    def note(message: Any, error: Any, **_: Any) -> None:
        found.append((message.id, error))

    signals.publish_failed.connect(note)
    signals.publish_postponed.connect(note)
    yield found
    signals.publish_failed.disconnect(note)
    signals.publish_postponed.disconnect(note)


def committed(*payloads: Any) -> list[str]:
    """Publish each in one transaction; return their ids."""
    with transaction.atomic():
        return [publish("orders", payload).id for payload in payloads]


def relayed() -> None:
    """Relay what there is, as a process does that begins."""
    relay = Relay("default", "default")
    while relay.step(servers.get()).more:
        pass
    relay.let_go(servers.get())


# ---------------------------------------------------------------- without an outbox


def test_what_is_published_is_on_the_replica(pair: Pair) -> None:
    """By the time that the call returns."""
    for number in range(20):
        publish("orders", {"n": number})
        assert pair.replica.raw().xlen("orders") == number + 1
    assert publish_many("orders", [{"n": each} for each in range(600)]) == 600
    assert pair.replica.raw().xlen("orders") == 620
    publish("orders", {}, delay=60)
    assert pair.replica.raw().zcard("{orders}:delayed") == 1


def test_what_too_few_replicas_have_is_told(pair: Pair) -> None:
    """It is on the server, and the error says so, and which entry it is."""
    pair.replica.pause()
    with pytest.raises(
        NotReplicated, match="The message is on the server of stream 'orders', but 0 of MIN_REPLICAS 1"
    ) as told:
        publish("orders", {})
    ((entry_id, _),) = pair.primary.raw().xrange("orders")
    assert (told.value.entry_id, told.value.sent) == (entry_id, 1)
    with pytest.raises(NotReplicated) as told:
        publish_many("orders", [{}] * 600)
    assert pair.primary.raw().xlen("orders") == 601
    assert told.value.sent == 600
    pair.primary.raw().script_flush()
    with pytest.raises(NotReplicated) as told:
        publish("orders", {}, delay=60)
    assert told.value.entry_id == ""
    assert pair.primary.raw().zcard("{orders}:delayed") == 1
    pair.replica.cont()


def test_a_server_that_refuses_to_wait_is_told(pair: Pair, streams: Streams) -> None:
    """Nobody knows then whether replicas have it."""
    url = pair.primary.user("half", "blind", "+@all", "-wait", "~*", "&*")
    streams({"orders": WAITS}, URL=url)
    with pytest.raises(NotReplicated, match=r"refuses WAIT: .*permissions"):
        publish("orders", {})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", [None, "fallback"])
def test_after_a_commit_it_is_logged_and_told(
    pair: Pair, streams: Streams, failed: list[Any], caplog: pytest.LogCaptureFixture, mode: str | None
) -> None:
    """A row of the outbox would have it sent twice."""
    streams({"orders": {**WAITS, "OUTBOX": mode}}, URL=pair.primary.url)
    pair.replica.pause()
    (identity,) = committed({})
    pair.replica.cont()
    ((told, error),) = failed
    assert (told, type(error)) == (identity, NotReplicated)
    assert f"Message {identity} of stream 'orders' is committed, and isn't safe. The message is on" in caplog.text
    assert not OutboxMessage.objects.exists()


def test_a_wait_in_vain_shortens_the_next_ones_for_a_moment(pair: Pair) -> None:
    """A thousand messages of one transaction would else wait a thousand times; and a whole one is tried again."""
    pair.replica.pause()
    config = servers.conf.stream("orders")
    assert replicas.words_of_wait(config) == (("WAIT", 1, 100),)
    with pytest.raises(NotReplicated):
        publish("orders", {})
    assert replicas.words_of_wait(config) == (("WAIT", 1, 5),)
    until = replicas._in_vain["default"]
    with pytest.raises(NotReplicated):
        publish("orders", {})
    assert replicas._in_vain["default"] == until
    pair.replica.cont()
    wait_until(lambda: replicas.words_of_wait(config) == (("WAIT", 1, 100),))
    wait_until(publishes, "a replica that has caught up")


def publishes() -> bool:
    """Whether enough replicas have what is published."""
    try:
        publish("orders", {})
    except NotReplicated:
        return False
    return True


# ---------------------------------------------------------------- with an outbox


@pytest.mark.django_db(transaction=True)
def test_rows_stay_until_replicas_have_their_messages(outbox: Pair, failed: list[Any]) -> None:
    """They are on the server, so the relay sends none of them again."""
    outbox.replica.pause()
    identities = committed({"n": 1}, {"n": 2})
    assert [each[0] for each in failed] == identities
    assert set(OutboxMessage.objects.values_list("message_id", "error")) == {(each, ON_TOO_FEW) for each in identities}
    relayed()
    assert OutboxMessage.objects.count() == 2
    outbox.replica.cont()
    wait_until(lambda: relayed() or not OutboxMessage.objects.exists(), "the rows' end")
    assert outbox.ids() == identities
    assert outbox.replica.raw().xlen("orders") == 2


@pytest.mark.django_db(transaction=True)
def test_what_the_relay_sends_waits_for_replicas_too(outbox: Pair) -> None:
    """It is sent once."""
    outbox.primary.raw().set("orders", "of another type")
    outbox.replica.pause()
    (identity,) = committed({})
    outbox.primary.raw().delete("orders")
    OutboxMessage.objects.update(next_try_at="2000-01-01T00:00:00Z")
    relayed()
    assert outbox.ids() == [identity]
    assert OutboxMessage.objects.get().error == ON_TOO_FEW
    outbox.replica.cont()
    wait_until(lambda: relayed() or not OutboxMessage.objects.exists(), "the row's end")
    assert outbox.ids() == [identity]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("keep", [None, 60])
def test_what_a_failover_lost_is_sent_again(outbox: Pair, streams: Streams, keep: int | None) -> None:
    """Under the same id, and kept for as long as OUTBOX_KEEP says once it is safe."""
    streams({"orders": {**WAITS, "OUTBOX": "always", "OUTBOX_KEEP": keep}}, URL=outbox.primary.url)
    (first,) = committed({})
    # The replica takes over. What is published now, it never gets.
    outbox.replica.raw().replicaof("NO", "ONE")
    lost = committed({"n": 1}, {"n": 2})
    outbox.primary.kill9()
    streams({"orders": {**WAITS, "OUTBOX": "always", "OUTBOX_KEEP": keep}}, URL=outbox.replica.url)
    relayed()
    assert [fields["id"] for _, fields in outbox.replica.raw().xrange("orders")] == [first, *lost]
    assert OutboxMessage.objects.filter(error=ON_TOO_FEW).count() == 2
    follow(outbox)
    wait_until(
        lambda: relayed() or not OutboxMessage.objects.filter(error=ON_TOO_FEW).exists(), "a replica's having all"
    )
    assert OutboxMessage.objects.count() == (3 if keep else 0)
    assert outbox.replica.raw().xlen("orders") == 3


def follow(pair: Pair) -> None:
    """Have the old primary come back as a replica of the one that took over."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    pair.replica.raw().config_set("port", port)
    pair.primary.options["replicaof"] = ("127.0.0.1", port)
    pair.primary.start()


@pytest.mark.django_db  # from Django 6.1 on, all checks ask databases
def test_settings_are_checked(streams: Streams) -> None:
    """A wait that nothing needs, and one that is longer than that for any reply."""
    streams({"orders": {"REPLICA_TIMEOUT": 1}})
    assert [each.id for each in run_checks()] == ["django_redis_streams.E002"]
    streams({"orders": {"MIN_REPLICAS": 1, "REPLICA_TIMEOUT": 1}}, OPTIONS={"socket_timeout": 1})
    (told,) = run_checks()
    assert (told.id, "REPLICA_TIMEOUT 1 s" in told.msg) == ("django_redis_streams.E008", True)


def test_servers_for_tests_need_no_replicas(streams: Streams) -> None:
    """A project's settings are for its server in production."""
    streams({"orders": WAITS})
    with isolated("embedded"):
        publish("orders", {})


@pytest.mark.django_db
def test_too_few_replicas_are_a_fault(pair: Pair, streams: Streams) -> None:
    """The doctor and the check before a deployment say so, and what comes of it."""
    assert "too-few-replicas" not in diagnosed()
    streams({"orders": {"MIN_REPLICAS": 2}}, URL=pair.primary.url)
    assert "Connected replicas: 1, and a stream here has MIN_REPLICAS 2." in diagnosed()["too-few-replicas"]
    assert "django_redis_streams.W038" in {each.id for each in run_checks(include_deployment_checks=True)}


@pytest.mark.django_db
def test_a_server_that_goes_on_without_its_replicas_is_a_warning(pair: Pair, streams: Streams) -> None:
    """Cut off, it would take what is lost later. A server that refuses to be asked isn't judged."""
    assert "takes writes with 0 replicas" in diagnosed()["replicas-not-required"]
    assert "django_redis_streams.W039" in {each.id for each in run_checks(include_deployment_checks=True)}
    streams({"orders": WAITS}, URL=pair.primary.user("half", "blind", "+@all", "-config", "~*", "&*"))
    assert "replicas-not-required" not in diagnosed()
    streams({"orders": {}}, URL=pair.primary.url)
    assert "replicas-not-required" not in diagnosed()
    pair.primary.raw().config_set("min-replicas-to-write", 1)
    streams({"orders": WAITS}, URL=pair.primary.url)
    assert "replicas-not-required" not in diagnosed()


@pytest.mark.django_db
def test_a_replica_that_lacks_much_is_a_warning(pair: Pair) -> None:
    """Though it was heard of just now: a failover to it would lose all that."""
    pair.replica.pause()
    for _ in range(70):
        pair.primary.raw().set("large", "x" * 1_000_000)
    told = r"state online, (6[89]|7\d),\d{3},\d{3} bytes behind, silent for \d s\)"
    assert re.search(told, diagnosed()["replica-behind"])
    assert "django_redis_streams.W040" in {each.id for each in run_checks(include_deployment_checks=True)}
    pair.replica.cont()
    wait_until(lambda: "replica-behind" not in diagnosed(), "a replica that has caught up")


def diagnosed() -> dict[str, str]:
    """The findings of the doctor: code and message."""
    return {each.code.value: each.message for each in diagnose()}
