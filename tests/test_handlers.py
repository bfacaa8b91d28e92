"""Handlers: what can be declared, where it is found, and which handler a message is for."""

import asyncio
import itertools
import os
import re
import subprocess
import sys
import textwrap
import threading
from datetime import timedelta

import pytest
from django.test import override_settings

from django_redis_streams import handler, handlers
from django_redis_streams.conf import GroupConfig
from django_redis_streams.exceptions import ConfigurationError, HandlerError
from django_redis_streams.handlers import registry
from django_redis_streams.message import LONGEST_TYPE
from django_redis_streams.retry import RetryPolicy


@pytest.fixture
def alone():
    """Only what the test declares is declared."""
    with handlers.isolated():
        yield


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes modules of a project by their dotted names, and takes them away again."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name, text):
        *packages, module = name.split(".")
        for depth in range(len(packages)):
            directory = tmp_path.joinpath(*packages[: depth + 1])
            directory.mkdir(exist_ok=True)
            (directory / "__init__.py").touch()
        tmp_path.joinpath(*packages, f"{module}.py").write_text(textwrap.dedent(text))
        sys.path_importer_cache.clear()

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def declare(**options):
    """A handler of orders:billing, as it was registered."""

    def function(message):
        """Do nothing."""

    handler("orders", **{"group": "billing", **options})(function)
    return handlers.registered()[-1]


DECLARES = """
    from django_redis_streams import handler

    @handler("orders", group="billing", type={type!r})
    def handle(message):
        pass
"""


# ---------------------------------------------------------------- declaring


def test_function_stays_what_it_is(alone):
    """A handler can be called, and tested, like any function; one function may be several handlers."""

    def function(message):
        return message

    assert handler("orders", group="billing")(handler("orders", group="loyalty")(function)) is function
    assert [each.group for each in handlers.registered()] == ["loyalty", "billing"]


def test_defaults_leave_it_to_the_group(alone):
    """Nothing but stream and group is needed."""
    found = declare()
    assert (found.stream, found.group, found.types) == ("orders", "billing", ())
    assert (found.batch, found.atomic, found.is_async) == (False, False, False)
    assert found.name == "tests.test_handlers.declare.<locals>.function"


def test_coroutine_function_is_known_as_one(alone):
    """The worker runs it in an event loop."""

    @handler("orders", group="billing")
    async def function(message):
        await asyncio.sleep(0)

    assert handlers.registered()[-1].is_async


@pytest.mark.parametrize(
    ("given", "types"),
    [(None, ()), ("order.paid", ("order.paid",)), ("order.*", ("order.*",)), (["a", "b.*"], ("a", "b.*"))],
)
def test_type_is_a_name_a_pattern_or_a_list(alone, given, types):
    """They arrive as they were given."""
    assert declare(type=given).types == types


@pytest.mark.parametrize(("given", "alias"), [(False, False), (True, "default"), ("other", "other")])
def test_atomic_is_a_database(alone, given, alias):
    """True is the default one."""
    assert declare(atomic=given).atomic == alias


def test_policy_is_the_handlers_over_the_groups(alone):
    """What a handler doesn't say, its group's settings do."""
    group = GroupConfig(name="billing", max_retries=7, backoff=(2.0, 20.0))
    assert declare().policy(group) == RetryPolicy(max_retries=7, backoff=(2.0, 20.0))
    mine = declare(max_retries=0, backoff=(1, timedelta(minutes=1)), retry_on=OSError, reject_on=[KeyError, ValueError])
    assert mine.policy(group) == RetryPolicy(
        max_retries=0, backoff=(1.0, 60.0), retry_on=(OSError,), reject_on=(KeyError, ValueError)
    )


@pytest.mark.parametrize(("given", "seconds"), [(None, None), (1.5, 1.5), (timedelta(minutes=1), 60.0)])
def test_timeout_is_in_seconds(alone, given, seconds):
    """None leaves it to the group."""
    assert declare(timeout=given).timeout == seconds


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": ""}, "@handler(group=''): expected text"),
        ({"group": None}, "@handler(group=None): expected text"),
        ({"type": ""}, "@handler(type=''): expected a type's name, a pattern such as 'order.*', or a list of these"),
        ({"type": []}, "expected a type's name"),
        ({"type": [1]}, "expected a type's name"),
        ({"type": ["a", "x" * 1_001]}, "expected text that isn't empty, of at most 1,000 characters"),
        ({"type": 5}, "expected a type's name"),
        ({"batch": 1}, "@handler(batch=1): expected True or False"),
        ({"atomic": None}, "@handler(atomic=None): expected True, False or the alias of a database"),
        ({"atomic": ""}, "expected True, False or the alias of a database"),
        ({"max_retries": -1}, "@handler(max_retries=-1): expected a whole number, 0 or more"),
        ({"max_retries": True}, "expected a whole number"),
        ({"backoff": 5}, "@handler(backoff=5): expected (base, cap)"),
        ({"backoff": (5, 1)}, "the base not above the cap"),
        ({"retry_on": "OSError"}, "expected an exception class or a list of such"),
        ({"retry_on": OSError()}, "expected an exception class"),
        ({"retry_on": [KeyboardInterrupt]}, "expected an exception class"),
        ({"reject_on": None}, "@handler(reject_on=None): expected an exception class"),
        ({"timeout": 0}, "@handler(timeout=0): expected seconds above 0 (int, float or timedelta)"),
        ({"timeout": "1"}, "expected seconds above 0"),
    ],
)
def test_bad_options_are_errors_of_the_declaration(alone, options, said):
    """The error names option, value and what was expected."""
    with pytest.raises(HandlerError) as raised:
        declare(**options)
    assert said in str(raised.value)
    assert handlers.registered() == ()


def yields(message):
    """Runs nothing when it is called."""
    yield message


async def yields_async(message):
    """Nor does this."""
    yield message


class Callable:
    """Not a function."""

    def __call__(self, message):
        """Do nothing."""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (yields, "it yields, so a call would run none of it"),
        (yields_async, "it yields, so a call would run none of it"),
        (lambda: None, "test_handlers.<lambda>: it can't be called with one argument, as its arguments are ()."),
        (lambda one, two: (one, two), "as its arguments are (one, two)."),
        (lambda *, message: message, "Expected a function that takes the message"),
        (Callable, "expected a function."),
        (Callable(), "expected a function."),
        ("charge", "expected a function."),
    ],
)
def test_what_cannot_be_run_is_an_error_of_the_declaration(alone, function, said):
    """A message that seems to be handled and isn't would be acknowledged, and lost."""
    with pytest.raises(HandlerError) as raised:
        handler("orders", group="billing")(function)
    assert said in str(raised.value)


@pytest.mark.parametrize("function", [lambda one: one, lambda *all_: all_, lambda one, two=2: (one, two), print])
def test_any_function_of_one_argument_will_do(alone, function):
    """Whatever further arguments it could take."""
    assert handler("orders", group="billing")(function) is function


def test_coroutine_cannot_run_in_a_transaction(alone):
    """Django's transactions belong to a thread; the error says what to do instead."""

    async def function(message): ...

    for atomic in (True, "other"):
        with pytest.raises(HandlerError, match="a coroutine can't run in a transaction"):
            handler("orders", group="billing", atomic=atomic)(function)


def test_option_of_a_later_version_is_no_option(alone):
    """An argument that has no effect isn't accepted."""
    with pytest.raises(TypeError, match="rate"):
        declare(rate=5)


# ---------------------------------------------------------------- matching


@pytest.mark.parametrize(
    ("type_", "taken_by"),
    [
        ("order.paid", "order.paid"),
        ("order.paid.twice", "order.paid.*"),
        ("order.sent", "order.*"),
        ("order.", "order.*"),
        ("order", None),
        ("orders.sent", None),
        ("orders.paid", "*.paid"),
        ("", None),
        ("invoice.order.paid", "*.paid"),
        ("order.line\nbreak", "order.*"),
        ("x.paid", "*.paid"),
        ("a[b]", "a[b]*"),
        ("ab", None),
    ],
)
def test_most_exact_type_wins(alone, type_, taken_by):
    """A name over a pattern, a longer pattern over a shorter, any of them over none; a star is any text."""
    for each in ("order.paid", "*.paid", "order.*", "order.paid.*", "a[b]*", None):
        declare(type=each)
    assert handlers.of("orders", "billing").find(type_).types == ((taken_by,) if taken_by else ())


@pytest.mark.parametrize("stars", range(1, 4))
def test_a_star_is_any_text(alone, stars):
    """A pattern takes exactly what it says: for all short ones, what the same regular expression does."""
    texts = ["".join(each) for length in range(4) for each in itertools.product("ab", repeat=length)]
    for parts in itertools.product(["", "a", "ab", "aba"], repeat=stars + 1):
        with handlers.isolated():
            declare(type="*".join(parts))
            found = handlers.of("orders", "billing")
            told = re.compile(".*".join(parts))
            for text in map("".join, itertools.product(texts, ["", "a", "ab"])):
                assert bool(found.find(text)) == bool(told.fullmatch(text)), (parts, text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("pattern", "type_"),
    [
        ("order.*.item.*.changed", "order." + ".item." * 160),
        ("*".join("a" * 10), "a" * 999 + "b"),
        ("*".join(["ab"] * 200) + "*c", "ab" * 499),
    ],
)
def test_a_type_is_matched_in_one_go(alone, pattern, type_):
    """However many stars there are, and whatever a type holds that comes from anybody."""
    declare(type=pattern)
    assert len(type_) > 900
    assert handlers.of("orders", "billing").find(type_) is None


def test_a_type_that_is_too_long_is_taken_by_no_name_and_no_pattern(alone):
    """The handler without a type takes it, as it takes all else."""
    declare(type="order.*")
    longest = "order." + "x" * (LONGEST_TYPE - len("order."))
    assert handlers.of("orders", "billing").find(longest).types == ("order.*",)
    assert handlers.of("orders", "billing").find(longest + "x") is None
    declare()
    assert handlers.of("orders", "billing").find(longest + "x").types == ()


def test_order_of_declaration_does_not_matter(alone):
    """Modules may be imported in any order: equally exact patterns are told apart by their text."""
    declare(type="*.paid")
    declare(type="order*")
    one_way = handlers.of("orders", "billing").find("order.paid").types
    with handlers.isolated():
        declare(type="order*")
        declare(type="*.paid")
        assert handlers.of("orders", "billing").find("order.paid").types == one_way


def test_handler_takes_each_of_its_types(alone):
    """A list of types is one handler under several names."""
    found = declare(type=["a", "b.*"])
    group = handlers.of("orders", "billing")
    assert group.find("a") is group.find("b.c") is found
    assert group.find("c") is None


def test_groups_have_nothing_to_do_with_each_other(alone):
    """What a group handles is what was declared for that stream and that group."""
    declare(type="a")
    declare(group="loyalty", type="b")
    found = handlers.of("orders", "billing")
    assert len(found) == 1
    assert [each.types for each in found] == [("a",)]
    assert found.find("b") is None
    assert len(handlers.of("tasks", "billing")) == 0


@pytest.mark.parametrize("type_", [None, "order.paid", "order.*"])
def test_two_handlers_of_one_type_are_an_error(alone, type_):
    """Which one would run must not depend on the order of imports."""
    declare(type=type_)
    declare(type=[type_, "more"] if type_ else None)
    with pytest.raises(HandlerError, match=r"both take .* in group 'billing' of stream 'orders'"):
        handlers.of("orders", "billing")


# ---------------------------------------------------------------- finding


@pytest.fixture
def searching(monkeypatch):
    """A project whose handlers nobody has asked for yet."""
    monkeypatch.setattr(registry, "_registry", registry._Registry())


def names():
    """The modules of the handlers that are found."""
    return [each.function.__module__ for each in handlers.registered()]


def test_handlers_of_apps_are_found(project, searching):
    """Each installed app's module `stream_handlers`, and nothing where there is none."""
    project("shop1.stream_handlers", DECLARES.format(type="a"))
    project("shop2.models", "")
    with override_settings(INSTALLED_APPS=["shop1", "shop2"]):
        assert names() == ["shop1.stream_handlers"]


def test_handlers_of_other_modules_are_found(project, searching, settings):
    """Those that `HANDLER_MODULES` names."""
    project("more", DECLARES.format(type="a"))
    settings.REDIS_STREAMS = {"HANDLER_MODULES": ["more"]}
    with override_settings(INSTALLED_APPS=[]):
        assert names() == ["more"]


def test_settings_that_change_are_followed(project, searching, settings):
    """What they name now is found now, and what is declared already isn't declared twice."""
    project("one", DECLARES.format(type="a"))
    project("two", DECLARES.format(type="b"))
    with override_settings(INSTALLED_APPS=[]):
        settings.REDIS_STREAMS = {"HANDLER_MODULES": ["one"]}
        assert names() == ["one"]
        settings.REDIS_STREAMS = {"HANDLER_MODULES": ["one", "two"]}
        assert names() == ["one", "two"]


def test_nothing_is_imported_before_it_is_needed(project):
    """The start of a web process imports no handlers."""
    project("shop1.stream_handlers", "raise RuntimeError('imported')")
    script = (
        "from django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['django_redis_streams', 'shop1'])\n"
        "import django; django.setup()\n"
        "from django_redis_streams import handlers\n"
        "from django_redis_streams.handlers import registry\n"
        "assert not registry.broken()\n"
        "handlers.registered()\n"
        "if registry.broken(): print('when asked')\n"
    )
    run = [sys.executable, "-W", "error", "-c", script]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("when asked\n", "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\nimport no_such_module", ("ModuleNotFoundError: No module named 'no_such_module' (", 2)),
        ("from . import no_such_name", ("ImportError: cannot import name 'no_such_name' from 'shop1' (", 1)),
        ("import json\n\njson.loads('{')", ("JSONDecodeError: Expecting property name", 3)),
        ("def (", ("SyntaxError: invalid syntax (", 1)),
    ],
)
def test_errors_of_an_apps_module_are_told_by_file_and_line(project, searching, tmp_path, text, told):
    """A module that is there and can't be imported isn't taken for one that isn't there."""
    project("shop1.stream_handlers", text)
    with override_settings(INSTALLED_APPS=["shop1"]):
        assert handlers.registered() == ()
        (broken,) = registry.broken()
        with pytest.raises(HandlerError) as raised:
            handlers.of("orders", "billing")
    assert str(broken) == str(raised.value)
    assert raised.value.__cause__ is not None
    assert str(broken).startswith(f"shop1.stream_handlers can't be imported: {told[0]}")
    assert str(broken).endswith(f"({tmp_path}/shop1/stream_handlers.py, line {told[1]}).")


def test_module_that_failed_is_imported_again(project, searching):
    """Mended, it declares its handlers once; those of other modules aren't lost."""
    project("shop1.stream_handlers", DECLARES.format(type="a"))
    project("shop2.stream_handlers", textwrap.dedent(DECLARES.format(type="b")) + "1 / 0")
    with override_settings(INSTALLED_APPS=["shop1", "shop2"]):
        for _ in range(2):
            assert names() == ["shop1.stream_handlers"]
            assert [each.name for each in registry.broken()] == ["shop2.stream_handlers"]
        project("shop2.stream_handlers", DECLARES.format(type="b"))
        assert names() == ["shop1.stream_handlers", "shop2.stream_handlers"]
        assert registry.broken() == ()


NAMED = "from django_redis_streams import {imported}\n{text}\nimport no_such_module\n"


@pytest.mark.parametrize(
    ("imported", "text", "left_out"),
    [
        ("handler", "@handler('orders', group='billing')\ndef run(message): ...", ["billing"]),
        ("handler", "bill = handler(stream='orders', group='billing', type='a')", ["billing"]),
        ("handler", "GROUP = 'billing'\n@handler('orders', group=GROUP)\ndef run(message): ...", None),
        ("handler", "some = {'orders': handler}", None),
        ("handler as consume", "@consume('orders', group='billing')\ndef run(message): ...", None),
        ("publish", "from shop1.further import *", None),
        ("handler", "def (", None),
    ],
)
def test_only_groups_that_a_broken_module_cannot_serve_have_handlers(project, searching, imported, text, left_out):
    """Where its text doesn't say for which groups it has handlers, it may have some for any."""
    project("shop1.stream_handlers", NAMED.format(imported=imported, text=text))
    project("shop2.stream_handlers", DECLARES.format(type="a").replace("billing", "loyalty"))
    with override_settings(INSTALLED_APPS=["shop1", "shop2"]):
        for group in ("billing", "loyalty"):
            if left_out is None or group in left_out:
                with pytest.raises(HandlerError, match=r"shop1\.stream_handlers can't be imported"):
                    handlers.of("orders", group)
            else:
                assert [each.name for each in handlers.of("orders", group)] == ["shop2.stream_handlers.handle"]


@pytest.mark.parametrize(
    "name", ["no_such_module", "no.such.module", "json.no_such_module", "json.decoder.x", "..", "a..b", "a b"]
)
def test_module_that_is_not_there_is_named(searching, settings, name):
    """The error says which setting names it."""
    settings.REDIS_STREAMS = {"HANDLER_MODULES": [name]}
    with pytest.raises(ConfigurationError, match=r"HANDLER_MODULES'\] names '.*': expected a module"):
        handlers.registered()


def test_errors_of_a_named_module_are_told(project, searching, settings):
    """Also where a package on the way to it can't be imported."""
    project("broken.inner", "")
    project("broken.__init__", "import no_such_module")
    settings.REDIS_STREAMS = {"HANDLER_MODULES": ["broken.inner"]}
    assert handlers.registered() == ()
    assert "No module named 'no_such_module'" in str(*registry.broken())


def test_many_threads_find_the_same(project, searching):
    """Whoever asks while another imports waits for all of it."""
    slowly = "import time\ntime.sleep(0.1)\n"
    project("shop1.stream_handlers", slowly + textwrap.dedent(DECLARES.format(type="a")))
    found = []
    with override_settings(INSTALLED_APPS=["shop1"]):
        threads = [threading.Thread(target=lambda: found.append(names())) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert found == [["shop1.stream_handlers"]] * 8


def test_isolation_ends(alone):
    """What is declared in isolation is gone afterwards, and what was there is back."""
    found = declare()
    with handlers.isolated():
        assert handlers.registered() == ()
        declare(type="x")
    assert handlers.registered() == (found,)


def test_isolation_outlives_settings(alone, settings):
    """A test that overrides settings within it stays alone."""
    settings.REDIS_STREAMS = {"HANDLER_MODULES": ["no_such_module"]}
    assert handlers.registered() == ()
