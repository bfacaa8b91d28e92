"""Connecting by sentinels: which master they lead to, what is said where they don't, and what the settings may say."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from django_redis_streams import connections, diagnosis, follow, inspection, publish
from django_redis_streams.checks import check_servers, check_settings
from django_redis_streams.exceptions import ConfigurationError, ServerUnreachable
from django_redis_streams.handlers import handler
from django_redis_streams.testing.isolation import isolated

from .support.sentinels import HOST, MASTER, SentinelServer, SentinelSet
from .support.tls import Front, certificate
from .support.workers import drain

PASSWORD = "s3cret-Zebra"
CONNECTION = "REDIS_STREAMS['CONNECTIONS']['default']"


@pytest.fixture(scope="module")
def group_of_servers() -> Iterator[SentinelSet]:
    """A master, a replica and three sentinels, for all tests here that leave the master where it is."""
    made = SentinelSet(down_after=60_000)
    yield made
    made.stop()


@pytest.fixture
def lead(streams: Callable[..., None]) -> Callable[..., None]:
    """`lead(url, …)` has the default connection lead there."""
    return lambda url, **connection: streams(URL=url, **connection)


@pytest.fixture
def make_sentinel(group_of_servers: SentinelSet) -> Iterator[Callable[..., SentinelServer]]:
    """Starts a sentinel of its own, which nobody else knows: `make_sentinel(port of the master, *lines)`."""
    with ExitStack() as stack:

        def make(port: int, *lines: str) -> SentinelServer:
            made = SentinelServer(group_of_servers.kind, port, lines, quorum=1)
            stack.callback(made.stop)
            return made

        yield make


def url_of(*ports: int, master: str = MASTER, login: str = "") -> str:
    """Return a URL with sentinels at these ports."""
    return f"redis+sentinel://{login}{','.join(f'{HOST}:{port}' for port in ports)}/{master}/0"


def my_port() -> int:
    """Return the port of the server that the process' link leads to."""
    return int(
        dict(line.split(":", 1) for line in connections.get().call("INFO", "server").split() if ":" in line)["tcp_port"]
    )


def refusal() -> str:
    """Return what is said where no sentinel leads to the master."""
    with pytest.raises(ServerUnreachable) as caught:
        connections.get().call("PING")
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


# Where they lead


def test_the_link_leads_to_the_master(group_of_servers: SentinelSet, lead: Callable[..., None]) -> None:
    """With its database. The address, by which logs and labels name the connection, is that of the sentinels."""
    url = group_of_servers.url(database=3)
    lead(url)
    connections.get().call("SET", "a", 1)
    assert "db3" in group_of_servers.master.raw().info("keyspace")
    assert connections.address() == url
    assert connections.server() == (MASTER, None)
    assert not check_settings()
    group_of_servers.master.raw().flushall()


@pytest.mark.usefixtures("isolated_handlers")
def test_all_that_uses_a_connection_works_by_sentinels(
    group_of_servers: SentinelSet, lead: Callable[..., None]
) -> None:
    """Publishing, a worker, a reader without a group, what is looked at, the doctor, the checks, and commands."""
    lead(group_of_servers.url())
    seen: list[str] = []
    handler("orders", group="billing")(lambda message: seen.append(message.payload["n"]))
    publish("orders", {"n": "1"})
    drain()
    assert seen == ["1"]
    assert [each.payload for each in follow("orders", after="0", block=0)] == [{"n": "1"}]
    assert inspection.group_totals("orders", "billing")["acknowledged"] == 1
    assert "unreachable" not in [each.code for each in diagnosis.diagnose()]
    assert all(each.id.endswith(("W034", "W036")) or each.level < 30 for each in check_servers())
    out = io.StringIO()
    call_command("streams", "status", stdout=out)
    assert "billing" in out.getvalue()
    group_of_servers.master.raw().flushall()


def test_the_tests_of_a_project_may_use_its_sentinels(group_of_servers: SentinelSet, lead: Callable[..., None]) -> None:
    """With a key prefix of their own, as on a single server; what they leave is erased."""
    lead(group_of_servers.url())
    with isolated("configured"):
        publish("orders", {"n": "1"})
        assert group_of_servers.master.raw().dbsize() > 0
    assert group_of_servers.master.raw().dbsize() == 0


# Sentinels that don't lead there


def test_a_dead_sentinel_is_passed_over(group_of_servers: SentinelSet, lead: Callable[..., None]) -> None:
    """And isn't asked first again."""
    living = group_of_servers.sentinels[0].port
    lead(url_of(1, living))
    assert my_port() == group_of_servers.master.port
    asked = connections._endpoint("default").sentinels
    assert asked is not None
    assert asked._order[0] == (HOST, living)


def test_a_sentinel_that_hangs_is_passed_over(
    group_of_servers: SentinelSet, make_sentinel: Callable[..., SentinelServer], lead: Callable[..., None]
) -> None:
    """A page that somebody waits for is there within three seconds, the next one at once."""
    hanging = [make_sentinel(group_of_servers.master.port) for _ in range(2)]
    lead(url_of(*(each.port for each in hanging), group_of_servers.sentinels[0].port))
    for each in hanging:
        each.pause()
    for within in (3.0, 0.5):
        connections.close_kept()
        began = time.monotonic()
        with connections.hurried():
            assert my_port() == group_of_servers.master.port
        assert time.monotonic() - began < within


def test_where_all_hang_a_page_is_told_within_three_seconds(
    group_of_servers: SentinelSet, make_sentinel: Callable[..., SentinelServer], lead: Callable[..., None]
) -> None:
    """Each of them is named."""
    hanging = [make_sentinel(group_of_servers.master.port) for _ in range(3)]
    lead(url_of(*(each.port for each in hanging)))
    for each in hanging:
        each.pause()
    began = time.monotonic()
    with connections.hurried():
        said = refusal()
    assert time.monotonic() - began < 3
    assert all(f"{HOST}:{each.port} can't be asked (Timeout" in said for each in hanging)


def test_a_stale_sentinel_that_names_a_replica_is_passed_over(
    group_of_servers: SentinelSet,
    make_sentinel: Callable[..., SentinelServer],
    lead: Callable[..., None],
    make_server: Any,
) -> None:
    """The replica says its role: nothing is sent to it. Without another sentinel, the error says so."""
    old = group_of_servers.servers[1]
    stale = make_sentinel(old.port, f"sentinel down-after-milliseconds {MASTER} 600000")
    lead(url_of(stale.port, group_of_servers.sentinels[0].port))
    assert stale.master() == (HOST, old.port)
    assert my_port() == group_of_servers.master.port
    lead(url_of(stale.port))
    assert f"names {HOST}:{old.port}, and that says that it is a replica" in refusal()


def test_each_sentinel_is_told_of(
    group_of_servers: SentinelSet, make_sentinel: Callable[..., SentinelServer], lead: Callable[..., None]
) -> None:
    """Unreachable, without that master, with another password, and no sentinel at all: each with what to change."""
    locked = make_sentinel(group_of_servers.master.port, f"requirepass {PASSWORD}")
    living = group_of_servers.sentinels[0].port
    lead(url_of(1, living, locked.port, group_of_servers.master.port, master="mymastre"))
    said = refusal()
    assert said.startswith(f"Connection 'default' (redis+sentinel://{HOST}:1,{HOST}:{living},")
    assert "no sentinel leads to the master 'mymastre'." in said
    assert f"{HOST}:1 can't be asked (Error 111 connecting to {HOST}:1. Connection refused)." in said
    assert f"{HOST}:{living} knows no master named 'mymastre': correct the name in URL" in said
    assert f"{HOST}:{locked.port} refuses its user or password (" in said
    assert "set both in SENTINEL_OPTIONS" in said
    assert f"{HOST}:{group_of_servers.master.port} refuses to say where the master is, or is no sentinel (" in said


def test_a_master_that_refuses_the_password_is_told(group_of_servers: SentinelSet, lead: Callable[..., None]) -> None:
    """Without the password; it is asked once, whichever sentinel names it."""
    lead(group_of_servers.url(login=f"clerk:{PASSWORD}"))
    said = refusal()
    name = f"names {HOST}:{group_of_servers.master.port}, and that refuses the user or the password ("
    assert said.count(name) == 3
    assert int(group_of_servers.master.raw().info("commandstats").get("cmdstat_auth", {"calls": 0})["calls"]) <= 1


def test_a_user_who_may_not_ask_for_the_role_is_told(group_of_servers: SentinelSet, lead: Callable[..., None]) -> None:
    """With the right that is missing; with it, all is well."""
    raw = group_of_servers.master.raw()
    rules = ("reset", "on", f">{PASSWORD}", "~*", "+@connection", "+info")
    raw.execute_command("ACL", "SETUSER", "clerk", *rules)
    lead(group_of_servers.url(login=f"clerk:{PASSWORD}"))
    assert "allow the user of the connection ROLE" in refusal()
    raw.execute_command("ACL", "SETUSER", "clerk", "+role")
    assert connections.get().call("PING") == "PONG"
    raw.execute_command("ACL", "DELUSER", "clerk")


def test_sentinels_with_users_of_their_own(
    group_of_servers: SentinelSet, make_sentinel: Callable[..., SentinelServer], lead: Callable[..., None]
) -> None:
    """By SENTINEL_OPTIONS; the password of the URL is the master's alone."""
    port = group_of_servers.master.port
    lines = (
        "user default off",
        f"user asker on >{PASSWORD} allchannels +sentinel|get-master-addr-by-name +@connection",
    )
    locked = make_sentinel(port, f"requirepass {PASSWORD}")
    lead(url_of(locked.port), SENTINEL_OPTIONS={"password": PASSWORD})
    assert my_port() == port
    if "6.2" not in group_of_servers.kind:  # whose ACLs know no sub-command of SENTINEL
        of_user = make_sentinel(port, *lines)
        lead(url_of(of_user.port), SENTINEL_OPTIONS={"username": "asker", "password": PASSWORD})
        assert my_port() == port


def test_tls_to_sentinels_and_to_the_master(
    group_of_servers: SentinelSet,
    make_sentinel: Callable[..., SentinelServer],
    lead: Callable[..., None],
    tmp_path: Path,
) -> None:
    """Each with its own options: by ADDRESS_REMAP the master is found behind its TLS front."""
    files = certificate(tmp_path)
    tls = {"ssl_ca_certs": str(files.certificate), "ssl_check_hostname": False}
    with (
        Front(files, group_of_servers.master.socket) as master,
        Front(files, group_of_servers.sentinels[0].socket) as sentinel,
    ):
        remap = {"ADDRESS_REMAP": lambda _: (HOST, master.port)}
        url = url_of(sentinel.port)
        lead(url.replace("redis", "rediss", 1), OPTIONS=tls, SENTINEL_OPTIONS={"ssl": True, **tls}, **remap)
        assert my_port() == group_of_servers.master.port
        lead(url, SENTINEL_OPTIONS={"ssl": True, **tls})
        assert my_port() == group_of_servers.master.port
        # What is mixed up is told with the cure.
        lead(url)
        assert "it speaks TLS, so set 'ssl' to True in SENTINEL_OPTIONS" in refusal()
        lead(url, SENTINEL_OPTIONS={"ssl": True, **tls}, **remap)
        assert "speaks TLS at this port: write rediss+sentinel:// instead of redis+sentinel://)" in refusal()
        lead(url_of(group_of_servers.sentinels[0].port), SENTINEL_OPTIONS={"ssl": True, **tls})
        assert "it speaks no TLS, so set 'ssl' to False in SENTINEL_OPTIONS" in refusal()


def test_a_write_that_a_replica_refuses_makes_the_link_ask_anew(
    group_of_servers: SentinelSet, lead: Callable[..., None]
) -> None:
    """READONLY says that the write wasn't carried out, and that the server is the master no more."""
    lead(group_of_servers.url())
    link, (master, replica) = connections.get(), group_of_servers.servers
    link.call("SET", "a", 1)
    master.raw().replicaof(HOST, replica.port)  # not by the sentinels, which would end connections
    with pytest.raises(ServerUnreachable, match=r"refuses: (READONLY )?You can't write"):
        link.call("SET", "a", 2)
    assert f"names {HOST}:{master.port}, and that says that it is a replica" in refusal()
    master.raw().replicaof("NO", "ONE")
    assert link.call("GET", "a") == "1"
    link.call("SET", "a", 3)


# ADDRESS_REMAP


def elsewhere(_: tuple[str, int]) -> tuple[str, int]:
    """Remap each address to one where nobody listens."""
    return HOST, 1


def test_an_address_is_remapped(group_of_servers: SentinelSet, lead: Callable[..., None]) -> None:
    """By a function, or by its dotted path; the error says from where to where."""
    asked: list[tuple[str, int]] = []

    def remap(address: tuple[str, int]) -> tuple[str, int]:
        asked.append(address)
        return "localhost", address[1]

    port = group_of_servers.master.port
    lead(group_of_servers.url(), ADDRESS_REMAP=remap, OPTIONS={"socket_type": 2})
    assert my_port() == port
    assert asked == [(HOST, port)]
    lead(group_of_servers.url(), ADDRESS_REMAP="tests.test_sentinel.elsewhere")
    assert f"names {HOST}:{port}, remapped to {HOST}:1, and that fails (Error 111" in refusal()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda _: None, "returned None: expected (host, port)"),
        (lambda _: ("", 1), "returned ('', 1): expected (host, port)"),
        (lambda _: {}["a"], "raised KeyError: 'a'"),
        (lambda _: ("x" * 64, 1), f"and {'x' * 64}:1 can't be looked up"),
    ],
    ids=["nothing", "no host", "an error", "unknowable"],
)
def test_a_remap_that_fails_is_told(
    group_of_servers: SentinelSet, lead: Callable[..., None], function: Any, said: str
) -> None:
    """As an address that leads nowhere: a worker goes on trying."""
    lead(group_of_servers.url(), ADDRESS_REMAP=function)
    assert said in refusal()


# The settings


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "names no sentinel."),
        (",/mymaster", "names no sentinel."),
        ("a:26379", "doesn't name the master."),
        ("a:26379/0", "doesn't name the master."),
        ("a/my master", "names a master with a character that no name of one may have."),
        ("a:0/mymaster", "a sentinel, number 1, whose port isn't a number from 1 to 65535"),
        ("a,b:65536/mymaster", "a sentinel, number 2, whose port isn't a number from 1 to 65535"),
        (f"a:{PASSWORD}/mymaster", "a sentinel, number 1, whose port isn't a number from 1 to 65535"),
        ("::1/mymaster", "number 1, that can't be understood"),
        ("a,,b/mymaster", "number 2, that can't be understood"),
        (f"clerk:a/{PASSWORD}@h/mymaster", "can't be understood (it isn't shown"),
        ("a/mymaster/x", "isn't the number of a database"),
        ("a/mymaster/0?port=1", "sets 'port' in OPTIONS or in the query of URL, which the sentinels say."),
        ("a/mymaster/0?host=b", "sets 'host' in OPTIONS or in the query of URL, which the sentinels say."),
        ("a/mymaster/0?socket_timeout=soon", "has a wrong socket_timeout"),
    ],
)
def test_a_url_that_cannot_work_is_told(lead: Callable[..., None], rest: str, said: str) -> None:
    """With what is expected; no part of it is quoted."""
    lead(f"redis+sentinel://{rest}")
    with pytest.raises(ConfigurationError) as caught:
        connections.address()
    assert said in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert [each.id for each in check_settings()] == ["django_redis_streams.E007"]


@pytest.mark.parametrize(
    ("hosts", "shown"),
    [
        ("a", "a:26379"),
        ("a,b:1", "a:26379,b:1"),
        ("[2001:db8::5],[::1]:5", "[2001:db8::5]:26379,[::1]:5"),
        ("clerk:s%40%2f@a", "a:26379"),
    ],
)
def test_hosts_have_a_port_by_default(lead: Callable[..., None], hosts: str, shown: str) -> None:
    """That of sentinels; IPv6 is in brackets."""
    lead(f"rediss+sentinel://{hosts}/mymaster?socket_timeout=2")
    assert connections.address() == f"rediss+sentinel://{shown}/mymaster/0"


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ({"OPTIONS": {"host": "b"}}, f"{CONNECTION} sets 'host' in OPTIONS"),
        ({"SENTINEL_OPTIONS": {"pasword": PASSWORD}}, "['SENTINEL_OPTIONS'] has the unknown option 'pasword'"),
        ({"SENTINEL_OPTIONS": {"ssl": 1}}, "['SENTINEL_OPTIONS']['ssl'] is 1: expected True or False."),
        ({"SENTINEL_OPTIONS": {"db": 1}}, "sets 'db', which is none for sentinels."),
        ({"SENTINEL_OPTIONS": {"protocol": 3}}, "sets 'protocol', which is fixed to 2"),
        ({"SENTINEL_OPTIONS": {"ssl_ca_certs": "a"}}, "It is for sentinels with TLS: set 'ssl' to True."),
        ({"SENTINEL_OPTIONS": {"ssl": True, "ssl_ca_certs": "/not/there"}}, "ssl_ca_certs='/not/there' can't be used"),
        ({"SENTINEL_OPTIONS": {"password": ["x", PASSWORD]}}, "expected text that isn't empty, or None."),
        ({"ADDRESS_REMAP": "tests.no_such.function"}, "is 'tests.no_such.function', which can't be imported"),
        ({"ADDRESS_REMAP": "tests.settings.USE_TZ"}, "which is no function, but True."),
        ({"ADDRESS_REMAP": 5}, "['ADDRESS_REMAP'] is 5: expected a function, or its dotted path."),
    ],
)  # fmt: skip
def test_settings_of_sentinels_that_cannot_work_are_told(
    lead: Callable[..., None], further: dict[str, Any], said: str
) -> None:
    """Before anything is connected."""
    lead(f"redis+sentinel://a/{MASTER}", **further)
    with pytest.raises(ConfigurationError) as caught:
        connections.address()
    assert said in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("SENTINEL_OPTIONS", {"password": PASSWORD}, "its URL names no sentinels."),
        ("ADDRESS_REMAP", elsewhere, "its URL names neither sentinels nor nodes of a cluster."),
    ],
)
def test_what_is_for_sentinels_needs_a_url_that_names_some(
    lead: Callable[..., None], key: str, value: Any, said: str
) -> None:
    """It would have no effect."""
    lead("redis://localhost", **{key: value})
    (found,) = check_settings()
    assert found.id == "django_redis_streams.E002"
    assert found.msg == f"{CONNECTION} has {key!r}, but {said}"
