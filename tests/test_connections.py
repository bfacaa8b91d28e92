"""Links to servers: what is sent once, what comes back, and what is said when nothing does."""

import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import traceback
from contextlib import suppress

import pytest
import redis
from redis.exceptions import NoPermissionError, ResponseError

from django_redis_streams import conf, connections, embedded
from django_redis_streams.checks import check_settings
from django_redis_streams.connections import Endpoint
from django_redis_streams.connections.arguments import _accepted
from django_redis_streams.connections.link import OpenLink
from django_redis_streams.connections.options import OPTIONS as KNOWN_OPTIONS
from django_redis_streams.connections.pool import Pool
from django_redis_streams.connections.transport import CLASSES
from django_redis_streams.exceptions import ConfigurationError, ServerUnreachable

from .support.tls import Front, certificate
from .support.waiting import wait_until

PASSWORD = "s3cret-Zebra"


@pytest.fixture
def link(streams):
    """A link to the server of the run that connects by itself."""
    return connections.get()


@pytest.fixture
def own(streams):
    """One connection to the server of the run."""
    opened = connections.open(timeout=5)
    yield opened
    opened.close()


@pytest.fixture
def leading(streams):
    """`leading(url, **options)` points the default connection elsewhere."""
    return lambda url, **options: streams(URL=url, OPTIONS=options)


def client_id(link):
    """The server's number for the connection that the link uses; a new connection has a new one."""
    return link.call("CLIENT", "ID")


def client_names(server):
    """The names of all who are connected."""
    return [client["name"] for client in server.raw().client_list()]


# Replies


def test_replies_have_the_shape_of_the_servers_page(link):
    """Replies are lists, text, whole numbers and None, as RESP2 has them, on every redis-py."""
    identity = link.call("XADD", "orders", "*", "data", "1")
    link.call("XGROUP", "CREATE", "orders", "billing", "0")
    read = ("XREADGROUP", "GROUP", "billing", "me", "STREAMS", "orders", ">")
    assert link.call(*read) == [["orders", [[identity, ["data", "1"]]]]]
    assert link.call(*read) is None
    assert link.call("XLEN", "orders") == 1
    assert link.call("HGETALL", "nothing") == []
    assert link.call("SET", "a", 1.5) == "OK"


def test_foreign_bytes_come_back_as_they_were(link, server):
    """Bytes that aren't UTF-8 pass through as text, both ways."""
    raw = b"caf\xe9 \xff\x00\r\n"
    server.raw().set("foreign", raw)
    text = link.call("GET", "foreign")
    assert text.encode("utf-8", "surrogateescape") == raw
    link.call("SET", "copy", text)
    assert link.call("GET", "copy") == text
    assert link.call("STRLEN", "copy") == len(raw)


def test_hiredis_reads_the_replies(own):
    """The fast parser is in use."""
    assert "Hiredis" in type(own._connection._parser).__name__


def test_error_reply_raises_and_keeps_the_link(link):
    """A wrong command is the command's fault: the connection is as good as before."""
    before = client_id(link)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        link.call_many([("SET", "a", 1)]) and link.call("XLEN", "a")
    assert client_id(link) == before


def test_error_of_a_script_is_that_of_its_command(link):
    """Not in which script, and on which line: whoever reads it can't look there."""
    link.call("SET", "a", 1)
    with pytest.raises(ResponseError) as caught:
        link.call("EVAL", "return redis.call('XLEN', KEYS[1])", 1, "a")
    by_script = str(caught.value)
    with pytest.raises(ResponseError) as caught:
        link.call("XLEN", "a")
    assert by_script.startswith("WRONGTYPE")
    assert by_script == str(caught.value)


def test_call_many_has_each_error_in_its_place(link):
    """One refused command of several hides none of the others' replies."""
    replies = link.call_many([("SET", "a", 1), ("XLEN", "a"), ("GET", "a")])
    assert replies[0] == "OK"
    assert isinstance(replies[1], ResponseError)
    assert replies[2] == "1"


def test_halves_of_call_many(own):
    """What is sent can be received later, in parts and in order."""
    own.send([("SET", "a", 1), ("INCR", "a")])
    own.send([("INCR", "a")])
    assert own.receive(1) == ["OK"]
    assert own.receive(2) == [2, 3]


def test_calls_in_turns_have_their_replies_batch_by_batch(own):
    """A batch is made while the server is at the one before, and sent when that is answered: errors in their places."""
    seen = []

    def batches():
        for number in range(3):
            seen.append((number, own._owed))
            yield [("RPUSH", "a", number), ("INCR", "a")]

    pushed = [(length, str(error)) for length, error in own.call_in_turns(batches())]
    assert [length for length, _ in pushed] == [1, 2, 3]
    assert all("wrong kind of value" in error for _, error in pushed)
    assert seen == [(0, 0), (1, 2), (2, 2)]
    assert list(own.call_in_turns([])) == []


def test_calls_in_turns_that_are_given_up_leave_no_reply_for_the_next(link):
    """Whether the caller stops or the next batch can't be made: what was sent is answered to nobody else."""

    def batches():
        yield [("ECHO", "first")]
        raise LookupError

    with pytest.raises(LookupError):
        list(link.call_in_turns(batches()))
    assert link.call("ECHO", "mine") == "mine"
    turns = link.call_in_turns([("ECHO", str(number))] for number in range(3))
    assert next(turns) == ["0"]
    turns.close()
    assert link.call("ECHO", "mine") == "mine"


def test_replies_still_owed_are_not_taken_for_a_lost_server(own, monkeypatch):
    """Sending again after an idle second, with replies waiting to be received, loses none of them."""
    own.send([("ECHO", "first")])
    wait_until(lambda: own._connection.can_read(timeout=0))
    monkeypatch.setattr(OpenLink, "IDLE", 0.0)
    assert own.usable
    own.send([("ECHO", "second")])
    assert own.receive(2) == ["first", "second"]


def test_call_refuses_to_take_replies_owed_to_another(own):
    """A call between send and receive would get the wrong reply, so it is refused; nothing is lost by that."""
    own.send([("ECHO", "first")])
    with pytest.raises(RuntimeError, match="owes 1 replies"):
        own.call("ECHO", "second")
    with pytest.raises(RuntimeError, match="owes 1 replies"):
        next(own.call_in_turns([[("ECHO", "second")]]))
    with pytest.raises(RuntimeError, match="owes 1 replies, not 2"):
        own.receive(2)
    assert own.receive(1) == ["first"]


def test_command_that_cannot_be_packed_leaves_the_link_alone(link):
    """A value of a wrong type is refused before anything is sent."""
    before = client_id(link)
    with pytest.raises(TypeError):
        link.call("SET", "a", None)
    assert client_id(link) == before


def test_interrupted_call_leaves_no_reply_for_the_next(link):
    """Ctrl-C while waiting for a reply: the next call gets its own."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            link.call("BLPOP", "nothing", 5)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert link.call("ECHO", "mine") == "mine"


def test_exception_between_the_halves_leaves_no_reply_for_the_next(link, monkeypatch):
    """As above, where it strikes after the sending."""
    with monkeypatch.context() as patch:
        patch.setattr(OpenLink, "receive", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            link.call("ECHO", "theirs")
    assert link.call("ECHO", "mine") == "mine"


# Losing the server


def test_lost_reply_is_told_and_the_command_is_sent_once(streams, proxy, server):
    """After a lost reply nobody knows, and nothing is sent again."""
    streams(URL=proxy.url)
    proxy.lose_reply_to("XADD")
    with pytest.raises(ServerUnreachable, match="may or may not have been carried out"):
        connections.get().call("XADD", "orders", "*", "data", "1")
    assert server.raw().xlen("orders") == 1
    assert b"".join(proxy.requests).count(b"XADD") == 1


def test_late_reply_is_told_and_the_command_is_sent_once(make_server, leading):
    """A reply that doesn't come in time counts as lost."""
    server = make_server()
    leading(server.url, socket_timeout=2)
    connections.get().call("PING")
    server.pause()
    with pytest.raises(ServerUnreachable, match="may or may not have been carried out"):
        connections.get().call("XADD", "orders", "*", "data", "1")
    server.cont()
    assert connections.get().call("ECHO", "mine") == "mine"
    assert server.raw().xlen("orders") == 1


def test_restart_between_two_calls_is_no_error(make_server, leading, monkeypatch):
    """An idle link is looked at before it is used."""
    server = make_server()
    leading(server.url)
    link = connections.get()
    link.call("PING")
    server.restart()
    monkeypatch.setattr(OpenLink, "IDLE", 0.0)  # as if a second had passed
    assert link.call("PING") == "PONG"


def test_busy_link_is_not_looked_at(make_server, leading, monkeypatch):
    """Within the second the look is saved, and a lost server is met by the command."""
    server = make_server()
    leading(server.url)
    link = connections.get()
    link.call("PING")
    server.restart()
    monkeypatch.setattr(OpenLink, "IDLE", 600.0)  # as if no second had passed
    with pytest.raises(ServerUnreachable):
        link.call("PING")
    assert link.call("PING") == "PONG"


def test_connecting_waits_out_a_restart(make_server, leading, monkeypatch):
    """A server that is back within a moment was never away."""
    monkeypatch.setattr(Pool, "PAUSES", (*Pool.PAUSES, 5.0, 5.0))  # a busy machine starts it more slowly
    server = make_server()
    leading(server.url)
    server.end()
    back = threading.Timer(0.05, server.start)
    back.start()
    assert connections.get().call("PING") == "PONG"
    back.join()


def test_no_server_is_told_with_address_and_setting(leading):
    """The error says where nobody was found, and which setting sent us there."""
    leading("redis://localhost:1/3")
    with pytest.raises(ServerUnreachable) as caught:
        connections.get().call("PING")
    assert "redis://localhost:1/3" in str(caught.value)
    assert "REDIS_STREAMS['CONNECTIONS']['default']" in str(caught.value)
    assert "may or may not" not in str(caught.value)


def test_unknown_host_is_told(leading):
    """A name that leads nowhere is the server's absence, not a crash."""
    leading("redis://no-such-host.invalid:6379")
    with pytest.raises(ServerUnreachable, match=r"no-such-host\.invalid"):
        connections.get().call("PING")


def test_somebody_else_at_the_port_is_told(leading):
    """What doesn't speak the protocol is no server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            with suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    with near:
                        near.recv(1000)
                        near.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        leading(f"redis://127.0.0.1:{listener.getsockname()[1]}", socket_timeout=1)
        with pytest.raises(ServerUnreachable):
            connections.get().call("PING")
        listener.shutdown(socket.SHUT_RDWR)


def test_silent_server_costs_one_timeout(leading):
    """A connection that isn't answered isn't tried again: that would multiply the wait."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        leading(f"redis://127.0.0.1:{listener.getsockname()[1]}", socket_timeout=0.3)
        with pytest.raises(ServerUnreachable):
            connections.get().call("PING")
        listener.accept()[0].close()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_loading_server_is_unreachable(make_server, leading, monkeypatch):
    """A server that loads its data serves nobody yet; one that has loaded it does."""
    server = make_server("valkey")
    with server.raw().pipeline(transaction=False) as pipeline:
        for number in range(3000):
            pipeline.set(f"k{number}", number)
        pipeline.execute()
    server.raw().bgrewriteaof()
    wait_until(lambda: not server.raw().info("persistence")["aof_rewrite_in_progress"])
    server.end()
    server.options["key-load-delay"] = "1000"  # microseconds a key
    server.options["loading-process-events-interval-bytes"] = "1024"
    starting = threading.Thread(target=server.start)
    starting.start()
    leading(server.url)
    monkeypatch.setattr(Pool, "PAUSES", ())
    heard = []

    def serves():
        try:
            return connections.get().call("DBSIZE") == 3000
        except ServerUnreachable as error:
            heard.append(str(error))
            return False

    wait_until(serves, "the data is loaded")
    starting.join()
    assert any("loading" in text for text in heard)


def replica(server):
    """Make a server a replica of nobody who answers."""
    server.raw().execute_command("REPLICAOF", "127.0.0.1", "1")


@pytest.mark.parametrize("kind", ["valkey", "redis-6.2", "redis-7.0", "redis-8.2"])
def test_master_that_became_a_replica_is_left(make_server, leading, kind):
    """READONLY means that somebody else serves now: the link is given up, whoever asks, a script too."""
    server = make_server(kind)
    leading(server.url)
    commands = [("XADD", "orders", "*", "a", "1"), ("EVAL", "return redis.call('SET', 'a', 1)", 0)]
    links = [connections.open(timeout=5) for _ in commands]
    replica(server)
    for link, command in zip(links, commands, strict=True):
        with pytest.raises(ServerUnreachable, match=r"refuses.*read only replica"):
            link.call(*command)
        assert not link.connected


@pytest.mark.parametrize("kind", ["valkey", "redis-6.2", "redis-7.0", "redis-8.2"])
def test_read_that_blocks_through_a_failover_is_ended(make_server, leading, kind):
    """UNBLOCKED ends a blocked read at a master's end, and is no error of the read."""
    server = make_server(kind)
    leading(server.url)
    server.raw().xgroup_create("orders", "billing", "$", mkstream=True)
    link = connections.open(timeout=10)
    link.send([("XREADGROUP", "GROUP", "billing", "me", "BLOCK", 8000, "STREAMS", "orders", ">")])
    wait_until(lambda: server.raw().info("clients")["blocked_clients"])
    replica(server)
    with pytest.raises(ServerUnreachable, match="UNBLOCKED"):
        link.receive(1)


def test_server_busy_with_a_script_is_unreachable(make_server, leading):
    """BUSY concerns everybody; BUSYGROUP one command."""
    server = make_server(lua_time_limit="10")
    leading(server.url)
    link = connections.get()
    link.call("XGROUP", "CREATE", "orders", "billing", "0", "MKSTREAM")
    with pytest.raises(ResponseError, match="BUSYGROUP"):
        link.call("XGROUP", "CREATE", "orders", "billing", "0")
    other = connections.open(timeout=10)
    other.send([("EVAL", "while true do end", 0)])

    def busy():
        try:
            link.call("PING")
        except ServerUnreachable as error:
            return "busy" in str(error)
        return False

    wait_until(busy)
    wait_until(lambda: killed(server.raw()))
    (ended,) = other.receive(1)
    assert isinstance(ended, ResponseError)


def killed(raw):
    """Whether SCRIPT KILL found one to kill."""
    with suppress(redis.RedisError):
        return raw.script_kill()
    return False


def test_refused_permission_is_about_the_command(leading, server, streams):
    """NOPERM keeps the link: a new one would hear the same."""
    leading(server.user("reader", PASSWORD, "+@all", "-xadd", "~*"))
    link = connections.open(timeout=5)
    with pytest.raises(NoPermissionError):
        link.call("XADD", "orders", "*", "a", "1")
    assert link.connected


def test_full_memory_is_about_the_command(make_server, leading):
    """OOM keeps the link: the server serves, and has no room for this."""
    server = make_server(maxmemory="1")
    leading(server.url)
    link = connections.open(timeout=5)
    with pytest.raises(ResponseError, match="maxmemory"):
        link.call("XADD", "orders", "*", "a", "1")
    assert link.connected


def test_server_that_wants_the_password_again_has_refused(make_server, leading):
    """NOAUTH on a good connection is an answer: the command was not carried out, and nobody need wonder."""
    server = make_server()
    server.raw().config_set("requirepass", PASSWORD)
    leading(f"unix://:{PASSWORD}@{server.socket}")
    link = connections.get()
    link.call("RESET")
    with pytest.raises(ServerUnreachable, match=r"refuses: Authentication required") as caught:
        link.call("SET", "a", 1)
    assert "may or may not" not in str(caught.value)
    assert link.call("GET", "a") is None


# Links of one's own


def test_open_connects_at_once(streams, make_server, leading):
    """The caller of open learns there and then that nobody answers."""
    leading("unix:///no/such/socket")
    with pytest.raises(ServerUnreachable, match="/no/such/socket"):
        connections.open(timeout=1)


def test_open_takes_the_timeout_given(make_server, leading):
    """The time-out of a reader stands above its BLOCK, whatever OPTIONS says of short requests."""
    server = make_server()
    leading(server.url, socket_timeout=30)
    assert connections.open(timeout=5).call("BLPOP", "nothing", 0.2) is None
    link = connections.open(timeout=0.2)
    server.pause()
    began = time.monotonic()
    with pytest.raises(ServerUnreachable):
        link.call("PING")
    assert time.monotonic() - began < 15
    server.cont()


def test_lost_link_of_ones_own_stays_lost(streams, server):
    """Its owner has things to look after before there is another: it never connects by itself."""
    link = connections.open(timeout=5)
    server.raw().client_kill_filter(_id=client_id(link))
    with pytest.raises(ServerUnreachable):
        link.call("PING")
    assert not link.connected
    for attempt in (lambda: link.call("PING"), lambda: link.send([("PING",)]), lambda: link.receive(1)):
        with pytest.raises(ServerUnreachable, match="closed; nothing was sent"):
            attempt()


def test_client_id_is_the_servers(streams, server):
    """Each connection has its own number."""
    one, two = connections.open(timeout=5), connections.open(timeout=5)
    known = {int(client["id"]) for client in server.raw().client_list()}
    assert {client_id(one), client_id(two)} <= known
    assert client_id(one) != client_id(two)


# Forks


def in_child(work):
    """What `work` returns in a forked child, as text; or its error."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = str(work())
        except Exception as error:  # noqa: BLE001  it is the test's to judge
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as reader:
        said = reader.read()
    os.waitpid(pid, 0)
    return said


def test_forked_child_connects_by_itself(link):
    """Parent and child never speak on one connection, and the parent's stays open."""
    mine = client_id(link)
    theirs = in_child(lambda: client_id(link))
    assert int(theirs) != mine
    assert client_id(link) == mine


def test_forked_child_has_no_use_of_a_link_of_ones_own(streams):
    """What its parent opened isn't the child's; with replies owed to the parent neither."""
    link = connections.open(timeout=5)
    mine = client_id(link)
    link.send([("ECHO", "parent's")])
    assert in_child(lambda: link.receive(1)).startswith("ServerUnreachable")
    assert in_child(lambda: link.call("PING")).startswith("ServerUnreachable")
    assert link.receive(1) == ["parent's"]
    assert client_id(link) == mine


def test_forked_child_does_not_hold_its_parents_connection_open(streams, server):
    """When the parent closes, the server knows, though a child lives on."""
    link = connections.open(timeout=5)
    mine = str(client_id(link))
    context = multiprocessing.get_context("fork")
    reading, writing = context.Pipe(duplex=False)
    child = context.Process(target=lambda: reading.poll(30))
    child.start()
    link.close()
    wait_until(lambda: mine not in {client["id"] for client in server.raw().client_list()})
    writing.send("done")
    child.join()


# URLs and OPTIONS


def test_timeouts_unless_options_say_otherwise(leading, server):
    """Two seconds to connect, five for a reply, for those whom a request waits for."""
    leading(server.url)
    connections.get().call("PING")
    made = connections.get()._idle[-1]._connection
    assert (made.socket_connect_timeout, made.socket_timeout) == (2, 5)
    leading(server.url, socket_connect_timeout=1, socket_timeout=3)
    connections.get().call("PING")
    made = connections.get()._idle[-1]._connection
    assert (made.socket_connect_timeout, made.socket_timeout) == (1, 3)


def test_options_reach_redis_py(leading, server):
    """OPTIONS are the connection's own."""
    leading(server.url, client_name="shop-front", db=4)
    connections.get().call("SET", "a", 1)
    assert "shop-front" in client_names(server)
    assert "db4" in server.raw().info("keyspace")


def test_options_of_the_url_reach_redis_py(leading, server):
    """The query of a URL says the same things, and wins, as in redis-py."""
    leading(f"{server.url}?client_name=by-url&db=5&max_connections=10", client_name="by-options")
    connections.get().call("SET", "a", 1)
    assert "by-url" in client_names(server)
    assert "db5" in server.raw().info("keyspace")


def test_tcp(make_server, leading):
    """redis:// leads to a port, with a database as its path."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = make_server(port=str(port), bind="127.0.0.1")
    leading(f"redis://127.0.0.1:{port}/3")
    connections.get().call("SET", "a", 1)
    assert "db3" in server.raw().info("keyspace")
    assert connections.address() == f"redis://127.0.0.1:{port}/3"


def test_tls_to_a_port_without_is_told(make_server, leading):
    """With the cure, instead of a time-out."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    make_server(port=str(port), bind="127.0.0.1")
    leading(f"rediss://127.0.0.1:{port}", socket_connect_timeout=0.3)
    with pytest.raises(ServerUnreachable, match="speaks no TLS at this port: write redis:// instead of rediss://"):
        connections.get().call("PING")


@pytest.fixture
def tls(server, tmp_path):
    """The port of a TLS front before the server of the run, and its certificate."""
    files = certificate(tmp_path)
    with Front(files, server.socket) as front:
        yield front.port, files.certificate


def test_tls(leading, tls, monkeypatch):
    """rediss:// speaks TLS, with what OPTIONS says of certificates; an idle link is checked as any other."""
    port, certificate = tls
    leading(f"rediss://localhost:{port}", ssl_ca_certs=str(certificate))
    link = connections.get()
    mine = client_id(link)
    monkeypatch.setattr(OpenLink, "IDLE", 0.0)
    assert client_id(link) == mine


def test_no_tls_to_a_port_with_it_is_told(leading, tls):
    """With the cure, instead of a closed connection."""
    port, _ = tls
    leading(f"redis://localhost:{port}")
    with pytest.raises(ServerUnreachable, match="speaks TLS at this port: write rediss:// instead of redis://"):
        connections.get().call("PING")


def test_tls_certificate_of_a_stranger_is_refused(leading, tls):
    """An unknown certificate is the server's fault, told as such."""
    port, _ = tls
    leading(f"rediss://localhost:{port}")
    with pytest.raises(ServerUnreachable, match=r"(?i)certificate"):
        connections.get().call("PING")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("socket_timout", "'socket_timout'.*Did you mean 'socket_timeout'"),
        ("max_connections", "unknown option 'max_connections'"),
        ("ssl_ca_certs", "unknown option 'ssl_ca_certs'.*UnixConnection"),
        ("retry", "sets 'retry', which is fixed"),
        ("decode_responses", "sets 'decode_responses', which is fixed to True"),
    ],
)
def test_option_that_cannot_work_is_named(leading, server, option, said):
    """An option that redis-py doesn't take, or that is ours to set, is named with its connection."""
    leading(server.url, **{option: 1})
    with pytest.raises(ConfigurationError, match=said) as caught:
        connections.get()
    assert "REDIS_STREAMS['CONNECTIONS']['default']" in str(caught.value)


def test_option_of_the_url_that_cannot_work_is_named(leading):
    """Likewise in a URL."""
    leading("redis://localhost/0?socket_timout=3")
    with pytest.raises(ConfigurationError, match="unknown option 'socket_timout'"):
        connections.get()
    leading("redis://localhost/0?socket_timeout=soon")
    with pytest.raises(ConfigurationError, match="socket_timeout"):
        connections.get()


SECONDS = "seconds above 0, at most 2,147,483 (int or float), or None"
OPTIONS = "REDIS_STREAMS['CONNECTIONS']['default']['OPTIONS']"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("socket_timeout", "5", SECONDS),
        ("socket_timeout", 0, SECONDS),
        ("socket_timeout", True, SECONDS),
        ("socket_connect_timeout", float("nan"), SECONDS),
        ("socket_connect_timeout", 1e300, SECONDS),
        ("socket_timeout", 2_147_484, SECONDS),
        ("db", "1", "the number of a database, 0 or more"),
        ("db", -1, "the number of a database, 0 or more"),
        ("client_name", "shop front", "text without spaces, in ASCII, or None"),
        ("client_name", 5, "text without spaces, in ASCII, or None"),
        ("username", [], "text that isn't empty, or None"),
        ("credential_provider", "me", "an object with get_credentials(), or None"),
        ("socket_read_size", 0, "a number of bytes, 1 or more"),
        ("redis_connect_func", "f", "something that can be called, or None"),
    ],
)
def test_option_of_a_wrong_type_is_told(leading, server, name, value, expected):
    """With its place, the value and what was expected, before anything is connected."""
    leading(server.url, **{name: value})
    with pytest.raises(ConfigurationError) as caught:
        connections.address()
    shown = "text that isn't shown, for it may hold a password" if name == "credential_provider" else repr(value)
    assert str(caught.value) == f"{OPTIONS}[{name!r}] is {shown}: expected {expected}."


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("host", "", "the name or address of a host"),
        ("port", "6379", "a port, 1 to 65535"),
        ("port", 65536, "a port, 1 to 65535"),
        ("socket_keepalive", "off", "True or False"),
        (
            "socket_keepalive_options",
            [1],
            "a dict of numbers, by the numbers of socket.TCP_KEEPIDLE and the like, or None",
        ),
        ("socket_type", "1", "0, socket.AF_INET or socket.AF_INET6"),
        ("socket_type", 99, "0, socket.AF_INET or socket.AF_INET6"),
        ("ssl_cert_reqs", "CERT_NONE", "'none', 'optional' or 'required'"),
        ("ssl_check_hostname", "false", "True or False"),
        ("ssl_ca_certs", 1, "a path, or None"),
        ("ssl_ca_data", 1, "text, bytes or None"),
    ],
)
def test_option_of_tcp_and_tls_of_a_wrong_type_is_told(leading, name, value, expected):
    """Also those that redis-py would only look at when it has connected, or never."""
    leading("rediss://localhost", **{name: value})
    with pytest.raises(ConfigurationError) as caught:
        connections.address()
    assert str(caught.value) == f"{OPTIONS}[{name!r}] is {value!r}: expected {expected}."


def test_each_option_of_redis_py_that_may_be_wrong_is_known():
    """A new one of redis-py's is handed on as it is; of those known here none is misspelt."""
    accepted = {name for kind in CLASSES.values() for name in _accepted(kind)}
    assert set(KNOWN_OPTIONS) - {"ssl_min_version", "ssl_ciphers"} <= accepted


def test_options_that_redis_py_cannot_be_made_of_are_told(leading, server):
    """In its own words, with the connection's name: two ways to say who one is, for example."""

    class Provider:
        def get_credentials(self):
            return ("clerk", PASSWORD)

    leading(server.url, credential_provider=Provider(), password=PASSWORD)
    with pytest.raises(ConfigurationError, match=r"\['default'\]: redis-py can't use its URL or OPTIONS: ") as caught:
        connections.address()
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("socket_timeout=abc", r"has a wrong socket_timeout \(it isn't shown, .*\): expected seconds above 0"),
        ("socket_timeout=-1", r"has a wrong socket_timeout \(it isn't shown, .*\): expected seconds above 0"),
        ("socket_timeout=", r"has a wrong socket_timeout \(it isn't shown, .*\): expected seconds above 0"),
        ("socket_keepalive=nope", r"has a wrong socket_keepalive \(it isn't shown, .*\): expected True or False"),
        ("db=one", r"has a wrong db \(it isn't shown, .*\): expected the number of a database"),
        ("db=1&db=2", "says 'db' twice. Remove one of them."),
        ("port=99999", r"has a wrong port \(it isn't shown, .*\): expected a port, 1 to 65535"),
        ("redis_connect_func=f", "sets 'redis_connect_func', which no URL can say. Set it in OPTIONS."),
        ("client_name=a%20b", r"has a wrong client_name \(it isn't shown, .*\): expected text without spaces"),
        ("socket_timout=1", "has the unknown option 'socket_timout'.*Did you mean 'socket_timeout'"),
        ("ssl_cert_reqs=none", "has the unknown option 'ssl_cert_reqs'.*It is for a URL that begins with rediss://"),
        ("ssl=1", "has the unknown option 'ssl'.*It is for a URL that begins with rediss://"),
    ],
)
def test_query_that_cannot_work_is_told(leading, query, said):
    """What redis-py would refuse when it connects, or read as something else, is an error of the settings."""
    leading(f"redis://localhost/?{query}")
    with pytest.raises(ConfigurationError, match=rf"\['URL'\] {said}"):
        connections.address()


def test_what_was_checked_is_not_checked_again(leading, tmp_path, settings):
    """It takes a while, and links are opened often; what changes is checked again."""
    leading("embedded://queue")
    assert connections.get()._endpoint is connections._endpoint("default")
    settings.BASE_DIR = tmp_path / "elsewhere"
    assert connections.address() == f"embedded://{tmp_path}/elsewhere/queue"
    leading("redis://localhost")
    assert connections.address() == "redis://localhost:6379/0"


def test_flag_of_tls_that_redis_py_does_not_know_is_told(leading):
    """As Python's ssl calls it, and not redis-py."""
    leading("rediss://localhost?ssl_cert_reqs=CERT_NONE")
    with pytest.raises(ConfigurationError, match=r"has a wrong ssl_cert_reqs .*: expected 'none', 'optional' or"):
        connections.address()


def test_query_is_read_by_its_words(leading):
    """Alike on each redis-py: `off` is off."""
    leading(
        "rediss://localhost:7?socket_keepalive=off&ssl_check_hostname=False&ssl_cert_reqs=none&socket_timeout=2&port=8"
    )
    arguments = Endpoint.of(conf.connection("default")).arguments
    assert arguments["socket_keepalive"] is arguments["ssl_check_hostname"] is False
    assert (arguments["ssl_cert_reqs"], arguments["socket_timeout"], arguments["port"]) == ("none", 2.0, 7)


@pytest.fixture
def encrypted(tmp_path):
    """A key that no one reads without its password."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command, to make a key")
    key = tmp_path / "encrypted.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ED25519", "-aes256", "-pass", "pass:open", "-out", key],
        check=True, capture_output=True,
    )  # fmt: skip
    return key


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("rediss://h", {"ssl_ca_certs": "/nope"}, "ssl_ca_certs='/nope' can't be used: No such file"),
        ("rediss://h?ssl_ca_certs=/nope", {}, "ssl_ca_certs can't be used: No such file"),
        ("rediss://h", {"ssl_ca_certs": __file__}, "ssl_ca_certs=.* can't be used: .*"),
        ("rediss://h", {"ssl_ca_data": "nonsense"}, "ssl_ca_data='nonsense' can't be used"),
        ("rediss://h", {"ssl_ca_path": "/nope"}, "ssl_ca_path='/nope' can't be used: No such file"),
        ("rediss://h", {"ssl_certfile": "/nope"}, "ssl_certfile='/nope' can't be used: No such file"),
        ("rediss://h", {"ssl_keyfile": "/nope"}, "ssl_keyfile='/nope' can't be used"),
        ("rediss://h", {"ssl_ciphers": "nonsense"}, "ssl_ciphers='nonsense' can't be used: .*cipher"),
        ("rediss://h", {"ssl_validate_ocsp": True, "ssl_validate_ocsp_stapled": True}, "one excludes the other"),
        ("redis://loc\0alhost:1", {}, "host can't be used: it holds a character"),
        ("redis://local host", {}, "host can't be used: it holds a character"),
        ("redis://a..b:1", {}, "host can't be used: .*label"),
        ("unix:///run/x%00y", {}, "path can't be used: it holds a character"),
        ("redis://h", {"socket_keepalive_options": {9_999: 1}}, r"socket_keepalive_options=.* can't be used"),
        ("redis://h", {"username": "\ud800"}, "username=.* can't be used: .*surrogates"),
    ],
)
def test_what_no_socket_takes_is_told_before_anything_is_connected(leading, url, options, said):
    """The check finds it, and no worker takes it for a server that is away."""
    if not {each for each in options if each.startswith("ssl_")} <= _accepted(CLASSES["rediss"]):
        pytest.skip("this redis-py doesn't take it")
    leading(url, **options)
    ((problem,)) = check_settings()
    assert problem.id == "django_redis_streams.E007"
    assert re.search(rf"\['default'\]: .*{said}", problem.msg)
    with pytest.raises(ConfigurationError, match=said):
        connections.get()


def test_key_that_needs_a_password_is_told_and_never_asked_for(leading, encrypted, tls):
    """OpenSSL itself would ask at the terminal, and wait."""
    _, certificate = tls
    leading("rediss://h", ssl_certfile=str(certificate), ssl_keyfile=str(encrypted))
    with pytest.raises(ConfigurationError, match=r"ssl_certfile=.*, ssl_keyfile=.* can't be used"):
        connections.address()


def test_certificates_that_are_sound_are_taken(leading, tls):
    """With each kind of value that TLS takes."""
    _, certificate = tls
    key = certificate.with_name("key.pem")
    options = {"ssl_ca_data": certificate.read_text(), "ssl_ca_path": certificate.parent}
    if "ssl_ciphers" in _accepted(CLASSES["rediss"]):
        options["ssl_ciphers"] = "HIGH"
    leading("rediss://h?socket_type=2", ssl_certfile=certificate, ssl_keyfile=key, **options)
    assert check_settings() == []


@pytest.mark.parametrize("host", ["::1", "fe80::1%25lo", "127.0.0.1", "b\u00fccher.example", "my_host", "h.example."])
def test_hosts_that_may_be_are_taken(leading, host):
    """Names and addresses of each kind."""
    leading(f"redis://[{host}]" if ":" in host else f"redis://{host}")
    assert check_settings() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # redis-py 5.0 leaves the socket open
def test_file_that_is_gone_at_the_next_connecting_is_told_as_such(leading, tls, tmp_path):
    """And not as an error 2 of connecting to the host."""
    port, certificate = tls
    own = tmp_path / "own.pem"
    own.write_bytes(certificate.read_bytes())
    leading(f"rediss://localhost:{port}", ssl_ca_certs=str(own))
    assert connections.get().call("PING") == "PONG"
    own.unlink()
    connections.close_kept()
    with pytest.raises(ConfigurationError, match=r"ssl_ca_certs=.* can't be used: No such file"):
        connections.get().call("PING")


def test_path_that_is_too_long_for_a_socket_is_told(leading):
    """The system would only say so when it connects."""
    leading("unix:///" + "x" * 200)
    with pytest.raises(ConfigurationError, match=r"of 201 bytes: a socket's may have \d+"):
        connections.address()


def test_embedded_server_that_is_not_installed_is_told(leading, monkeypatch):
    """By the settings' checks too, which start nothing."""
    monkeypatch.setattr(embedded.server.metadata, "files", lambda _: [])
    embedded.server.program.cache_clear()
    leading("embedded://")
    ((problem,)) = check_settings()
    assert (problem.id, "[embedded]" in problem.msg) == ("django_redis_streams.E007", True)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost/orders", "isn't the number of a database"),
        ("unix://", "no path of a socket"),
        ("unix://run/valkey.sock", "can't be understood"),
        ("redis://localhost:port", "can't be understood"),
        ("redis://localhost:99999", "can't be understood"),
        ("redis://localhost:0", "can't be understood"),
        ("embedded://user:word@/var/queue", "can't be understood"),
    ],
)
def test_url_that_cannot_work_is_told(leading, url, said):
    """A URL that redis-py would misread in silence is an error."""
    leading(url)
    with pytest.raises(ConfigurationError, match=said):
        connections.get()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://user:secret@[::1]:7/2", "redis://[::1]:7/2"),
        ("rediss://:secret@example.com/1", "rediss://example.com:6379/1"),
        ("unix://user:secret@/run/valkey.sock?db=2", "unix:///run/valkey.sock?db=2"),
        ("embedded:///var/lib/shop", "embedded:///var/lib/shop"),
    ],
)
def test_address_is_printable(leading, url, shown):
    """An address says where, and neither who nor by what password."""
    leading(url)
    assert connections.address() == shown


# Passwords


def everything_said(caught):
    """All of an error, with its causes, as a log would have it."""
    return "".join(traceback.format_exception(caught.value))


def test_password_opens_the_door(leading, server):
    """A user comes in by URL, however odd the password, or by OPTIONS."""
    odd = "p@ss/w:rd?#%41é"
    leading(server.user("clerk", odd, "+@all", "~*"))
    assert connections.get().call("ACL", "WHOAMI") == "clerk"
    leading(server.url, username="clerk", password=odd)
    assert connections.get().call("ACL", "WHOAMI") == "clerk"


def test_wrong_password_is_told_without_it(leading, server):
    """A refused password is the server's refusal, tried once, and shown nowhere."""
    server.user("clerk", "right", "+@all", "~*")
    refused = server.raw().info("stats").get("acl_access_denied_auth", 0)
    leading(f"unix://clerk:{PASSWORD}@{server.socket}")
    with pytest.raises(ServerUnreachable, match=r"(?i)invalid username-password") as caught:
        connections.get().call("PING")
    assert PASSWORD not in everything_said(caught)
    assert server.raw().info("stats").get("acl_access_denied_auth", 0) - refused in (0, 1)


def test_missing_password_is_told(make_server, leading):
    """A server that wants a password says so."""
    server = make_server()
    server.raw().config_set("requirepass", PASSWORD)
    leading(server.url)
    with pytest.raises(ServerUnreachable, match=r"(?i)authentication required") as caught:
        connections.get().call("PING")
    assert PASSWORD not in everything_said(caught)


def test_server_that_repeats_the_password_is_not_quoted(make_server, leading):
    """A server without AUTH answers with the arguments that it doesn't understand."""
    server = make_server(rename_command=("AUTH", "LOGIN"))
    leading(f"unix://clerk:{PASSWORD}@{server.socket}")
    with pytest.raises(ServerUnreachable, match="unknown command") as caught:
        connections.get().call("PING")
    assert PASSWORD not in everything_said(caught)


def test_server_that_repeats_what_a_provider_gave_is_not_quoted(make_server, leading):
    """A password that stands nowhere in the settings is known to redis-py alone."""

    class Provider:
        def get_credentials(self):
            return ("clerk", PASSWORD)

    server = make_server(rename_command=("AUTH", "LOGIN"))
    leading(server.url, credential_provider=Provider())
    with pytest.raises(ServerUnreachable, match="unknown command") as caught:
        connections.get().call("PING")
    assert PASSWORD not in everything_said(caught)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:{0}/x@localhost:6379/0",
        "redis://user:{0}?x@localhost:6379/0",
        "redis://user:{0}#x@localhost:6379/0",
        "redis://:12/{0}@localhost",
        "redis://:12?{0}@localhost",
        "redis://:12#{0}@localhost",
        "redis://[{0}@localhost",
        "redis://user:{0}@localhost:port",
        "unix://:12/{0}@/run/valkey.sock",
        "unix://{0}/x@/run/valkey.sock",
    ],
)
def test_malformed_url_is_told_without_its_password(leading, url):
    """Where the password ends can't be known, so nothing of the URL is shown; the error says how to write it."""
    leading(url.format(PASSWORD))
    with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
        connections.get()
    assert PASSWORD not in everything_said(caught)
    assert PASSWORD.lower() not in everything_said(caught).lower()


def test_password_is_in_no_repr(leading, server):
    """Neither a link nor what it is made from shows it; nor does an error after the connection was made."""
    leading(server.user("clerk", PASSWORD, "+@all", "~*"))
    link = connections.get()
    mine = client_id(link)
    assert PASSWORD not in repr(link) + repr(link._endpoint) + repr(vars(link))
    lent = link._idle[-1]
    assert PASSWORD not in repr(lent) + repr(vars(lent)) + repr(lent._connection)
    server.raw().client_kill_filter(_id=mine)
    lent._used = time.monotonic()
    with pytest.raises(ServerUnreachable) as caught:
        link.call("PING")
    assert PASSWORD not in everything_said(caught)


# Cost


def test_call_is_no_slower_than_redis_py(link, server):
    """A publish by `call` costs this process no more than `Redis.xadd`, with its pool and its retries."""
    client = redis.Redis(unix_socket_path=str(server.socket))

    def cost(work):
        began = time.thread_time()  # what else the machine does is no business of ours
        for _ in range(100):
            work()
        return time.thread_time() - began

    ours, theirs = [], []
    for _ in range(10):
        ours.append(cost(lambda: connections.get().call("XADD", "orders", "*", "data", "x" * 60)))
        theirs.append(cost(lambda: client.xadd("orders", {"data": "x" * 60})))
    client.close()
    assert min(ours) < min(theirs)
