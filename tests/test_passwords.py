"""No password is shown, wherever in the settings it stands: in no check, no error, no repr, no page, no command."""

import io
import traceback
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import checks
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_redis_streams import conf, connections, publish
from django_redis_streams.admin.problems import error_text
from django_redis_streams.conf import hidden, shown
from django_redis_streams.exceptions import ConfigurationError, StreamsError, UnknownStream

# As it is, and as it may stand in a URL.
PASSWORD = "s3cret-Zebra"
ENCODED = "s3cret%2DZebra"

URLS = {
    "a URL": f"redis://:{PASSWORD}@h:6379/0",
    "of a user, encoded": f"rediss://clerk:{ENCODED}@h",
    "in the query": f"redis://h/0?password={PASSWORD}",
    "of a socket": f"unix://clerk:{PASSWORD}@/run/the.sock",
    "unescaped": f"redis://clerk:a/{PASSWORD}?b#c@h",
    "twice an @": f"redis://clerk:a@{PASSWORD}@h",
    "without its host": f"redis://:{PASSWORD}",
    "for a port": f"redis://h:{PASSWORD}",
    "for a path": f"redis://h/{PASSWORD}",
    "of an odd scheme": f"valkey+tls://:{PASSWORD}@h",
    "without its scheme": f"clerk:{PASSWORD}@h:6379/0",
    "in capitals": f"REDIS://:{PASSWORD}@h",
    "for a scheme": f"{PASSWORD}://h",
    "for a scheme, of a user": f"{PASSWORD}://clerk:a@h",
    "after a space": f" redis://:{PASSWORD}@h",
    "embedded": f"embedded://clerk:{PASSWORD}@/var/queue",
    "of two servers": f"redis://:a@h,redis://:{PASSWORD}@h",
    "without a slash": f"redis:/clerk:{PASSWORD}@h",
    "without slashes": f"redis:clerk:{PASSWORD}@h",
    "without slashes, nor a host": f"REDISS:{PASSWORD}",
    "without a slash, of a socket": f"unix:/clerk:{PASSWORD}@/run/the.sock",
    "without a slash, of another server": f"Valkeys:/:{PASSWORD}",
    "without a colon": f"redis//clerk:{PASSWORD}@h",
    "without its scheme and port": f"clerk:{PASSWORD}@h",
    "for a time-out": f"redis://h?socket_timeout={PASSWORD}",
    "for an option": f"redis://h?{PASSWORD}=1",
    "of sentinels": f"redis+sentinel://clerk:{PASSWORD}@h,i:1/m/0",
    "of sentinels, unescaped": f"redis+sentinel://clerk:a/{PASSWORD}@h,i/m/0",
    "of sentinels, without a host": f"rediss+sentinel://:{PASSWORD}",
    "of sentinels, for a port": f"redis+sentinel://h:{PASSWORD},i/m",
    "of sentinels, in the query": f"redis+sentinel://h/m?password={PASSWORD}",
    "of a cluster": f"redis+cluster://clerk:{PASSWORD}@h,i:1/0",
    "of a cluster, unescaped": f"redis+cluster://clerk:a/{PASSWORD}@h,i",
    "of a cluster, without a host": f"rediss+cluster://:{PASSWORD}",
    "of a cluster, for a database": f"redis+cluster://h/{PASSWORD}",
    "of a cluster, in the query": f"redis+cluster://h?password={PASSWORD}",
    "in words": f"host=h password={PASSWORD}",
}
SHAPES = {
    "text": lambda url: url,
    "a list": lambda url: [url],
    "a dict": lambda url: {"x": url},
    "a dict of names": lambda url: {url: {}},
    "a connection": lambda url: {"URL": url},
    "options": lambda url: {"OPTIONS": [url, PASSWORD], "password": PASSWORD},
    "bytes": lambda url: url.encode(),
    "parsed": lambda url: urlsplit(url.replace("[", "")),
    "deep": lambda url: {"x": [{"y": ({"z": url},)}]},
}


def valid() -> dict[str, Any]:
    """Settings that name each key there is."""
    group = {
        "START": "0", "MAX_RETRIES": 3, "BACKOFF": (1, 600), "CLAIM_IDLE": 60, "TIMEOUT": 600, "MAX_CRASHES": 2,
        "BATCH_SIZE": 100, "UNMATCHED": "skip", "RATE": "9/h", "GROUP_CONCURRENCY": 1, "ASYNC_CONCURRENCY": 100,
    }  # fmt: skip
    stream = {
        "CONNECTION": "default", "GROUPS": {"billing": group}, "MAXLEN": 1, "MAX_AGE": 1, "EXACT_TRIM": False,
        "HARD_MAXLEN": 2, "DEAD_LETTER_STREAM": "failed", "LANES": ["default", "high"], "LANE_WEIGHTS": {"high": 2},
        "MAX_PAYLOAD": 100, "FORMAT": "json",
        "MODELS": {"shop.Order": {"ON": ["created"], "FIELDS": ["id"], "TYPE": "order", "LANE": "high"}},
    }  # fmt: skip
    options = {"socket_timeout": 2, "client_name": "shop", "username": "clerk", "socket_keepalive": True, "db": 1}
    return {
        "CONNECTIONS": {"default": {"URL": "redis://localhost", "KEY_PREFIX": "staging", "OPTIONS": options}},
        "STREAMS": {"orders": stream},
        "HANDLER_MODULES": ["tests.obedient"],
    }


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value of some settings stands, all of them the first."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, each in children:
        yield from paths(each, (*path, key))


PATHS = list(paths(valid()))


def settings_with(path: tuple[Any, ...], value: Any, *, as_key: bool = False) -> Any:
    """Valid settings but for what stands at this path: another value, or the same under another name."""
    if not path:
        return value
    tree = deepcopy(valid())
    node = tree
    for key in path[:-1]:
        node[key] = list(node[key]) if isinstance(node[key], tuple) else node[key]
        node = node[key]
    if as_key and isinstance(node, dict):
        node[value] = node.pop(path[-1])
    else:
        node[path[-1]] = value
    return tree


def said_of(value: Any) -> str:
    """All that is said of these settings. The fixture `settings` would keep each value below the next."""
    with override_settings(REDIS_STREAMS=value):
        return all_that_is_said()


def all_that_is_said() -> str:
    """What checks, errors, their tracebacks, reprs and the admin's pages say of the settings."""
    said = [repr(conf.problems()), repr(conf.usable())]
    said += [f"{each} {each.hint} {each!r}" for each in checks.run_checks(tags=["django_redis_streams"])]
    attempts = [
        conf.get,
        lambda: [connections.address(alias) for alias in conf.get().connections],
        lambda: [repr(connections.Endpoint.of(each)) for each in conf.get().connections.values()],
        lambda: [repr(each) for each in conf.get().streams.values()],
        lambda: publish("ordres", {}),
    ]
    for attempt in attempts:
        try:
            said.append(repr(attempt()))
        except StreamsError as error:
            # Without the frames, which show lines of code and no values; with the errors that led to it.
            said += [*traceback.format_exception(error, limit=0), repr(error), error_text(error)]
    return "\n".join(said)


def assert_not_shown(text: str) -> None:
    """The password is in none of it, in neither form; nor is half of it."""
    assert "s3cret" not in text
    assert "Zebra" not in text


@pytest.fixture(autouse=True)
def _no_handlers(isolated_handlers: None) -> None:
    """What the project's handlers are missing isn't the matter here."""


@pytest.mark.parametrize("path", PATHS, ids=lambda path: "/".join(map(str, path)) or "all")
def test_a_url_is_shown_at_no_place_of_the_settings(path: tuple[Any, ...]) -> None:
    """In the place of a value, inside a value, and as a name. From place to place each URL has another shape."""
    shapes = list(SHAPES.values())
    for at, url in enumerate(URLS.values(), start=PATHS.index(path)):
        for value in (url, shapes[at % len(shapes)](url)):
            assert_not_shown(said_of(settings_with(path, value)))
        assert_not_shown(said_of(settings_with(path, url, as_key=True)))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_url_of_any_shape_is_shown_at_no_place_of_the_settings(shape: str) -> None:
    """Each URL in this shape, at each place."""
    for path in PATHS:
        for url in URLS.values():
            assert_not_shown(said_of(settings_with(path, SHAPES[shape](url))))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: "/".join(map(str, path)) or "all")
def test_a_url_at_a_wrong_place_is_an_error(settings: Any, path: tuple[Any, ...]) -> None:
    """It says scheme and host, so that it is found: nothing takes it for a name."""
    if path[-1:] == ("URL",) or "OPTIONS" in path:
        return
    settings.REDIS_STREAMS = settings_with(path, URLS["a URL"])
    assert any("'redis://***@h" in each.message for each in conf.problems())
    if path:
        settings.REDIS_STREAMS = settings_with(path, URLS["a URL"], as_key=True)
        assert any("'redis://***@h" in each.message for each in conf.problems())


@pytest.mark.django_db  # from Django 6.1 on `check` looks at databases, too
@pytest.mark.parametrize(
    "command",
    [["check"], ["streams", "doctor"], ["streams", "status"], ["runconsumers"], ["streams", "publish", "orders", "{}"]],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "path",
    [(), ("CONNECTIONS",), ("CONNECTIONS", "default"), ("STREAMS", "orders", "CONNECTION"), ("STREAMS",)],
    ids=str,
)
def test_no_command_shows_it(settings: Any, path: tuple[Any, ...], command: list[str]) -> None:
    """Each ends with what is wrong."""
    settings.REDIS_STREAMS = settings_with(path, URLS["a URL"])
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises((CommandError, SystemExit)) as caught:
        call_command(*command, stdout=out, stderr=err)
    text = "".join(traceback.format_exception(caught.value)) + out.getvalue() + err.getvalue()
    assert_not_shown(text)
    assert "redis://***@h" in text


@pytest.mark.parametrize("url", [f"redis://:{PASSWORD}@h", f"redis://h?password={PASSWORD}"])
def test_names_that_are_asked_for_are_shown_without_it(settings: Any, url: str) -> None:
    """A URL where a stream, a group or a connection is meant, in a call."""
    settings.REDIS_STREAMS = {"CONNECTIONS": {"default": {"URL": "redis://h"}}, "STREAMS": {"orders": {"GROUPS": {}}}}
    asks = [
        lambda: conf.stream(url),
        lambda: conf.group("orders", url),
        lambda: conf.any_group("orders", url),
        lambda: connections.get(url),
        lambda: publish(url, {}),
    ]
    for ask in asks:
        with pytest.raises((UnknownStream, ConfigurationError)) as caught:
            ask()
        assert_not_shown("".join(traceback.format_exception(caught.value)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"redis://u:{PASSWORD}@h:6379/1", "'redis://***@h:6379/1'"),
        (f"unix://u:{PASSWORD}@/run/the.sock?db=1", "'unix://***@/run/the.sock…'"),
        ("redis://[::1]:6379/0", "'redis://[::1]:6379/0'"),
        ("embedded://var/queue", "'embedded://var/queue'"),
        (f"redis://h:{PASSWORD}", "'redis://…'"),
        (f"redis:/u:{PASSWORD}@h", "'***@h'"),
        (f"redis:{PASSWORD}", "'redis:…'"),
        (["a", ("b",), {"c": 1}, {2}], "['a', ('b',), {'c': 1}, set({2})]"),
        ({"password": PASSWORD, "db": 1}, "{'password': text that isn't shown, for it may hold a password, 'db': 1}"),
        (None, "None"),
        (10, "10"),
    ],
)
def test_what_is_shown_is_of_use(value: Any, expected: str) -> None:
    """Scheme and host, or the path of a socket; what holds no password stays as it is."""
    assert shown(value) == expected


@pytest.mark.parametrize(
    "name",
    ["shop.orders@v2", "users:created", "redis-events:created", "https://example.com/orders", "urn:orders", "a=b"],
)
def test_an_ordinary_name_is_no_url(settings: Any, name: str) -> None:
    """Names and types of messages may hold colons, and be web addresses."""
    settings.REDIS_STREAMS = settings_with(("STREAMS", "orders", "MODELS", "shop.Order", "TYPE"), name)
    assert conf.problems() == ()
    settings.REDIS_STREAMS = settings_with(("STREAMS", "orders"), name, as_key=True)
    assert conf.problems() == ()


def test_a_value_that_cannot_be_shown_is_named_by_its_type() -> None:
    """Settings may hold any object, and one that holds itself."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("broken")

    endless: list[Any] = []
    endless.append(endless)
    assert shown(Broken()) == "a Broken"
    assert shown(endless) == "[[[[a list]]]]"
    assert hidden("Client(token='x', user=y)") == "Client(token=***, user=***)"
