"""A server in cluster mode, which isn't supported: whoever meets one ends with an error that says so."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from redis.crc import key_slot
from redis.exceptions import ResponseError

from django_redis_streams import connections, follow
from django_redis_streams.exceptions import ConfigurationError
from django_redis_streams.handlers import handler

from .support.books import books
from .support.clusters import node, node_of_two
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import HASTY, Fleet, Worker, working

GROUPS = {"GROUPS": {"billing": {}}}
BOTH = {"orders": GROUPS, "tasks": GROUPS}
IS_NODE = "The server is a node of a cluster, and not all keys of the command are on it"
ENDS = "The worker ends, because its configuration can't work: "


@pytest.fixture
def elsewhere(make_server: Callable[..., Server], tmp_path: Path) -> Iterator[Fleet]:
    """Workers on a node of a cluster: the stream "orders" is on it, "tasks" on another."""
    fleet = Fleet(tmp_path, node_of_two(make_server).url, BOTH)
    yield fleet
    fleet.end()


@pytest.mark.parametrize(
    ("streams", "label", "said"),
    [
        (BOTH, "tasks:billing", " 127.0.0.1:"),
        ({"orders": {**GROUPS, "DEAD_LETTER_STREAM": "letters"}}, "orders:billing", ""),
        ({"orders": GROUPS, "returns": GROUPS}, "returns:billing", "Hash slot not served"),
    ],
    ids=["on another node", "its dead letters on another node", "on no node"],
)
def test_a_worker_of_a_stream_that_is_not_on_the_node_ends(
    elsewhere: Fleet, streams: dict[str, Any], label: str, said: str
) -> None:
    """It has nothing to wait for. It says why, once."""
    elsewhere.streams = streams
    output = elsewhere.finish(elsewhere.start("--processes", "2"), code=1)
    (line,) = [each for each in output.splitlines() if ENDS in each]
    assert f"{ENDS}{label}, connection 'default': {IS_NODE} (" in line
    assert "lead to a server that isn't in cluster mode." in line
    assert said in line
    assert f"CommandError: {label}, connection 'default': {IS_NODE}" in output
    assert "can't be reached" not in output


def test_a_worker_of_streams_that_are_all_on_the_node_works(elsewhere: Fleet) -> None:
    """As docs say of a single shard."""
    elsewhere.streams = {"orders": GROUPS}
    elsewhere.drain()


@pytest.fixture
def down(make_server: Callable[..., Server], streams: Callable[..., None], isolated_handlers: None) -> Server:
    """The server of the default connection: a node of a cluster that is down, since it lacks other nodes."""
    made = node(make_server, "orders", whole=True)
    wait_until(lambda: "cluster_state:fail" in str(made.raw().execute_command("CLUSTER", "INFO")))
    streams({"orders": GROUPS}, URL=made.url)
    handler("orders", group="billing")(lambda _: None)
    return made


def bring_up(server: Server) -> None:
    """Have a cluster be up without its other nodes."""
    server.raw().config_set("cluster-require-full-coverage", "no")
    wait_until(lambda: "cluster_state:ok" in str(server.raw().execute_command("CLUSTER", "INFO")))


@pytest.mark.usefixtures("down")
def test_a_worker_waits_for_a_cluster_that_is_down_for_a_while_only() -> None:
    """Then it ends as above."""
    worker = Worker(timing=replace(HASTY, cluster_down=0.3)).start()
    worker.threads[0].join(20)
    worker.services_stop.set()
    assert isinstance(worker.error, ConfigurationError)
    assert "The server is a node of a cluster, which is down" in str(worker.error)


def test_a_worker_goes_on_when_the_cluster_of_its_server_is_up_again(
    down: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """For some seconds after its start, a node says that its cluster is down."""
    with working(timing=HASTY):
        wait_until(lambda: "The server is a node of a cluster, which is down" in caplog.text)
        bring_up(down)
        down.raw().xadd("orders", {"n": "1"})
        wait_until(lambda: books(down.raw()).acknowledged == 1)


def test_who_follows_a_stream_is_told_that_the_cluster_is_down(down: Server) -> None:
    """Waiting for the next message wouldn't end."""
    bring_up(down)
    messages = follow("orders", block=30)
    down.raw().xadd("orders", {"n": "1"})
    following = follow("orders", after="0", block=30)
    next(following)
    down.raw().config_set("cluster-require-full-coverage", "yes")
    down.raw().execute_command("CLUSTER", "ADDSLOTS", key_slot(b"other"))  # then it looks at its state anew
    for each in (messages, following):
        with pytest.raises(ResponseError, match="is a node of a cluster, which is down"):
            list(each)


@pytest.mark.parametrize(
    "words",
    [
        ("streams", "status"),
        ("streams", "tail", "tasks"),
        ("streams", "publish", "tasks", "{}"),
        ("streams", "pause", "tasks:billing"),
        ("deadletters", "list"),
        ("deadletters", "replay", "--no-input"),
    ],
    ids=" ".join,
)
def test_a_command_says_that_the_server_is_a_node_of_a_cluster(
    make_server: Callable[..., Server], streams: Callable[..., None], words: tuple[str, ...]
) -> None:
    """It ends."""
    streams(BOTH, URL=node_of_two(make_server).url)
    out = io.StringIO()
    try:
        call_command(*words, stdout=out)
    except (CommandError, SystemExit) as error:
        out.write(str(error))
    assert IS_NODE in out.getvalue()


def test_a_node_of_a_cluster_has_one_database(make_server: Callable[..., Server], streams: Callable[..., None]) -> None:
    """Another in URL can't work: nobody waits for it."""
    made = make_server("redis-8.2", port="0", cluster_enabled="yes", cluster_port="0")
    streams(BOTH, URL=f"{made.url}?db=1")
    with pytest.raises(ConfigurationError, match=r"the server is a node of a cluster .*cluster mode"):
        connections.get().call("PING")
