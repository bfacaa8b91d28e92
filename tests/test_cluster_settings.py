"""What the settings may say of a cluster: how its URL is read, and what is said of one that can't work."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from redis.crc import key_slot

from django_redis_streams import conf, connections
from django_redis_streams.checks import check_settings
from django_redis_streams.connections.addresses import Address, remap_of
from django_redis_streams.connections.arguments import arguments_of, checked
from django_redis_streams.connections.cluster_settings import node_arguments, read_url
from django_redis_streams.connections.transport import CLASSES
from django_redis_streams.exceptions import ConfigurationError

PASSWORD = "s3cret-Zebra"
CONNECTION = "REDIS_STREAMS['CONNECTIONS']['default']"


class Told(NamedTuple):
    """What the settings say of the default connection."""

    nodes: tuple[Address, ...]
    scheme: str
    arguments: dict[str, Any]


@pytest.fixture
def tell(settings: Any) -> Callable[..., Told]:
    """`tell(url, …)` has the default connection lead there, and returns what is read of it."""

    def read(url: str, **connection: Any) -> Told:
        settings.REDIS_STREAMS = {"CONNECTIONS": {"default": {"URL": url, **connection}}}
        config = conf.connection("default")
        assert config.by_cluster
        nodes, plain = read_url(config)
        parts = checked(plain)
        remap_of(config)
        return Told(nodes, parts.scheme, node_arguments(plain, arguments_of(plain, CLASSES[parts.scheme], parts)))

    return read


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+cluster://a", ([("a", 6379)], "redis", {})),
        ("redis+cluster://a:1,b/", ([("a", 1), ("b", 6379)], "redis", {})),
        ("rediss+cluster://[2001:db8::5],[::1]:5/0", ([("2001:db8::5", 6379), ("::1", 5)], "rediss", {})),
        (
            "redis+cluster://clerk:s%40%2f@a/0?socket_timeout=2&db=0",
            ([("a", 6379)], "redis", {"username": "clerk", "password": "s@/", "socket_timeout": 2.0}),
        ),
    ],
)
def test_a_url_names_nodes(tell: Callable[..., Told], url: str, told: Any) -> None:
    """With a port by default, IPv6 in brackets; user, password and options are for each node."""
    nodes, scheme, arguments = tell(url)
    assert (list(nodes), scheme, {name: each for name, each in arguments.items() if name != "db"}) == told
    assert arguments.get("db", 0) == 0
    assert "s%40" not in connections.address()
    assert not check_settings()


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "names no node. Expected redis+cluster://user:password@host:port,host:port."),
        (",/0", "names no node."),
        ("a:0", "a node, number 1, whose port isn't a number from 1 to 65535"),
        ("a,b:65536/0", "a node, number 2, whose port isn't a number from 1 to 65535 (it isn't shown"),
        (f"a:{PASSWORD}", "number 1, whose port isn't a number"),
        ("a:²", "number 1, whose port isn't a number"),
        ("::1", "number 1, that can't be understood"),
        ("[::1", "number 1, that can't be understood"),
        ("a,,b", "number 2, that can't be understood (it isn't shown"),
        (f"clerk:a/{PASSWORD}@h", "can't be understood (it isn't shown"),
        ("a/3", "names the database 3: a cluster has database 0 alone. Remove the number."),
        ("a/0?db=3", "names the database 3: a cluster has database 0 alone."),
        (f"a/{PASSWORD}", "has a path that isn't 0 (it isn't shown"),
        ("a?port=1", "sets 'port' in OPTIONS or in the query of URL, which the nodes say. Remove it."),
        ("a?host=b", "sets 'host' in OPTIONS or in the query of URL, which the nodes say."),
        ("a?socket_timeout=soon", "has a wrong socket_timeout"),
        (f"a?{PASSWORD}=1", "an unknown option (it isn't shown"),
        ("a?ssl_ca_certs=/a", "It is for a URL that begins with rediss"),
    ],
)
def test_a_url_that_cannot_work_is_told(tell: Callable[..., Told], rest: str, said: str) -> None:
    """With what is expected; no host, user or password of it is quoted."""
    with pytest.raises(ConfigurationError) as caught:
        tell(f"redis+cluster://{rest}")
    assert [each.id for each in check_settings()] == ["django_redis_streams.E007"]
    assert said in str(caught.value)
    assert CONNECTION in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ({"OPTIONS": {"host": "b"}}, f"{CONNECTION} sets 'host' in OPTIONS"),
        ({"OPTIONS": {"db": 2}}, "names the database 2: a cluster has database 0 alone."),
        ({"OPTIONS": {"pasword": PASSWORD}}, "['OPTIONS'] has the unknown option 'pasword'"),
        ({"SENTINEL_OPTIONS": {"password": PASSWORD}}, "has 'SENTINEL_OPTIONS', but its URL names no sentinels."),
        ({"ADDRESS_REMAP": "tests.no_such.function"}, "is 'tests.no_such.function', which can't be imported"),
        ({"ADDRESS_REMAP": 5}, "['ADDRESS_REMAP'] is 5: expected a function, or its dotted path."),
    ],
)
def test_settings_of_a_cluster_that_cannot_work_are_told(
    tell: Callable[..., Told], further: dict[str, Any], said: str
) -> None:
    """Before anything is connected."""
    with pytest.raises(ConfigurationError) as caught:
        tell("redis+cluster://a", **further)
    assert said in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "staging"])
@pytest.mark.parametrize(("scheme", "number"), [("redis+cluster", 1), ("rediss+cluster", 1), ("redis", 0)])
def test_dead_letters_are_in_the_slot_of_their_stream(settings: Any, prefix: str, scheme: str, number: int) -> None:
    """Where they aren't, the error says how they are; on a single server they may be anywhere."""

    def declare(dead_letters: str) -> None:
        settings.REDIS_STREAMS = {
            "CONNECTIONS": {"default": {"URL": f"{scheme}://a", "KEY_PREFIX": prefix}},
            "STREAMS": {"orders": {"DEAD_LETTER_STREAM": dead_letters, "LANES": ["high", "default"]}, "tasks": {}},
        }

    declare("letters")
    found = conf.problems()
    assert [each.id for each in found] == ["E009"] * number
    for each in found:
        assert "Stream 'orders' has its dead letters in the key" in each.message
        begin = each.hint.split("'")[1]
        assert begin == "{orders}:"
        declare(f"{begin}letters")
        # A test's own prefix, too, must leave it there.
        for further in ("", "test-7"):
            with conf.prefixed(further):
                assert conf.problems() == ()
                keys = conf.stream("orders").keys
                assert keys.dlq == f"{{{keys.main}}}:letters"
                assert key_slot(keys.dlq.encode()) == key_slot(keys.main.encode())
