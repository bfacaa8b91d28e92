"""What a contrib package puts around publishing and handling, and around the end of a worker's process."""

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, wraps
from logging.handlers import MemoryHandler
from typing import Any

import pytest
from django.db import connection

from django_redis_streams import Message, handler, handlers, publish, publish_many, publishing
from django_redis_streams.exceptions import InvalidMessage
from django_redis_streams.publishing import Publication
from django_redis_streams.worker.system import forking

from .support.workers import drain

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

bill = handler("orders", group="billing")


@pytest.fixture
def left() -> Iterator[list[Any]]:
    """Each call of `publish` gets a header more; what is known when it is left is noted."""
    noted: list[Any] = []

    @contextmanager
    def surrounding(publication: Publication) -> Iterator[None]:
        publication.headers = {**(publication.headers or {}), "more": True}
        try:
            yield
        except InvalidMessage as error:
            noted.append(error)
        else:
            noted.append((publication.config.name, publication.message_id, publication.count))

    publishing.add_middleware(surrounding)
    yield noted
    publishing.remove_middleware(surrounding)


@pytest.fixture
def runs() -> Iterator[list[Any]]:
    """Each call of a handler is noted before it is made, and whether it is in a transaction."""
    noted: list[Any] = []

    def wrapper(declared: handlers.Handler, function: Any) -> Any:
        @wraps(function)
        def call(argument: Any) -> Any:
            noted.append((declared.function.__name__, connection.in_atomic_block))
            return function(argument)

        return call

    handlers.add_middleware(wrapper)
    yield noted
    handlers.remove_middleware(wrapper)


def test_what_is_around_a_call_gives_its_headers_and_learns_what_was_published(left, raw):
    """It is left when the messages are there; of one it knows the id, of several how many."""
    message = publish("orders", {"n": 1}, headers={"tenant": "a"})
    publish_many("orders", [{"n": 2}, {"n": 3}])
    assert left == [("orders", message.id, None), ("orders", "", 2)]
    assert message.headers == {"tenant": "a", "more": True}
    assert all('"more":true' in fields["headers"] for _, fields in raw.xrange("orders"))


def test_what_is_around_a_call_holds_no_error_back(left):
    """It sees what the call raises, and so does the caller, whatever it answers."""
    with pytest.raises(InvalidMessage) as raised:
        publish("orders", {"n": object()})
    assert left == [raised.value]


def test_with_nothing_around_it_a_call_has_the_headers_that_it_was_given(streams):
    """None are none."""
    assert publish("orders", {"n": 1}).headers == {}


@pytest.mark.django_db(transaction=True)
def test_what_is_around_a_handler_is_around_its_transaction_too(runs):
    """So it sees a commit that fails."""
    within: list[bool] = []

    @handler("orders", group="billing", atomic=True)
    def run(message: Message) -> None:
        within.append(connection.in_atomic_block)

    publish("orders", {"n": 1})
    drain()
    assert (runs, within) == ([("run", False)], [True])


def test_a_handler_with_something_around_it_is_the_same_handler(runs):
    """Its name, its options and whether it is a coroutine stay; the function itself is called plainly as before."""

    @handler("orders", group="billing", type="a", timeout=7)
    async def run(message: Message) -> None:
        pass

    (declared,) = handlers.registered()
    (found,) = handlers.of("orders", "billing")
    assert declared.function is run
    assert found.function is not run
    assert (found.name, found.is_async, found.timeout, found.types) == (declared.name, True, 7, ("a",))


@pytest.fixture
def two() -> Iterator[list[str]]:
    """Two that know nothing of each other, around publishing and around handlers; what they do is noted in order."""
    noted: list[str] = []

    def around_publishing(name: str) -> Any:
        @contextmanager
        def context(publication: Publication) -> Iterator[None]:
            publication.headers = {**(publication.headers or {}), name: True}
            noted.append(f"{name} enters")
            try:
                yield
            finally:
                noted.append(f"{name} leaves")

        return context

    def around_handlers(name: str) -> Any:
        def middleware(_: handlers.Handler, function: Any) -> Any:
            @wraps(function)
            def call(argument: Any) -> Any:
                noted.append(f"{name} begins")
                try:
                    return function(argument)
                finally:
                    noted.append(f"{name} ends")

            return call

        return middleware

    contexts = [around_publishing("a"), around_publishing("b")]
    wrappers = [around_handlers("a"), around_handlers("b")]
    for context, wrapper in zip(contexts, wrappers, strict=True):
        for _ in range(2):  # as an app that is made ready twice
            publishing.add_middleware(context)
            handlers.add_middleware(wrapper)
    yield noted
    for context, wrapper in zip(contexts, wrappers, strict=True):
        publishing.remove_middleware(context)
        handlers.remove_middleware(wrapper)


def test_two_that_are_around_a_call_both_run_in_the_order_in_which_they_came(two):
    """The first that was added is the outermost, and each is there once."""
    message = publish("orders", {"n": 1})
    assert message.headers == {"a": True, "b": True}
    assert two == ["a enters", "b enters", "b leaves", "a leaves"]
    two.clear()
    with pytest.raises(InvalidMessage):
        publish("orders", {"n": object()})
    assert two == ["a enters", "b enters", "b leaves", "a leaves"]


def test_one_that_cannot_be_entered_leaves_those_that_were(two):
    """Its error is the call's, and nothing is published."""

    def broken(_: Publication) -> Any:
        raise LookupError("not today")

    publishing.add_middleware(broken)
    try:
        with pytest.raises(LookupError):
            publish("orders", {"n": 1})
    finally:
        publishing.remove_middleware(broken)
    assert two == ["a enters", "b enters", "b leaves", "a leaves"]


@pytest.mark.parametrize("is_async", [False, True])
def test_two_that_are_around_a_handler_both_run_in_the_order_in_which_they_came(two, is_async):
    """So they do around a coroutine, which stays one."""
    ran = []

    if is_async:

        @bill
        async def run(message: Message) -> None:
            ran.append(message.payload)

    else:

        @bill
        def run(message: Message) -> None:
            ran.append(message.payload)

    publish("orders", {"n": 1})
    two.clear()
    drain()
    assert ran == [{"n": 1}]
    assert two == ["a begins", "b begins", "b ends", "a ends"]


def test_with_nothing_around_it_a_handler_is_what_was_declared():
    """No call is made through anything."""
    bill(lambda _: None)
    assert [*handlers.of("orders", "billing")] == [*handlers.registered()]


def test_a_process_of_a_worker_does_at_its_end_what_it_was_asked_for(tmp_path):
    """What it has registered itself, not what its parent has; what fails there changes nothing of how it ends."""
    path = tmp_path / "ends"

    def note(what: str) -> None:
        with path.open("a") as file:
            file.write(f"{what}\n")

    def fail() -> None:
        raise ValueError("at the end")

    def work() -> int:
        log = logging.getLogger("kept")
        log.addHandler(MemoryHandler(100, target=logging.FileHandler(path)))
        log.warning("kept")
        for each in (fail, partial(note, "ended")):
            atexit.register(each)
        return 3

    registered = atexit.register(note, "of the parent")
    try:
        _, status = os.waitpid(forking.forked(work), 0)
    finally:
        atexit.unregister(registered)
    assert os.waitstatus_to_exitcode(status) == 3
    assert path.read_text() == "ended\nkept\n"


def test_each_process_of_a_worker_tells_of_its_begin_and_its_end(fleet, raw, tmp_path):
    """Also where a receiver fails; a process of another kind doesn't."""
    raw.xadd("orders", {"do": "ok"})
    path = tmp_path / "processes"
    fleet.drain("--processes", "2", DJANGO_SETTINGS_MODULE="tests.support.telling_settings", TEST_PROCESSES=str(path))
    told = [line.split() for line in path.read_text().splitlines()]
    begun, ended = ([pid for what, pid in told if what == each] for each in ("started", "ending"))
    assert len(set(begun)) == 2
    assert sorted(begun) == sorted(ended)
