"""Traces from what publishes to what handles, by OpenTelemetry's own SDK and on a real server."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from functools import wraps
from typing import Any

import pytest
from django.db import transaction
from django.test.utils import modify_settings
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from django_redis_streams import (
    Message,
    Reject,
    Retry,
    apublish,
    connections,
    handler,
    handlers,
    publish,
    publish_many,
    publishing,
    signals,
)
from django_redis_streams.contrib.opentelemetry.processing import traced
from django_redis_streams.contrib.opentelemetry.publishing import traced_publication
from django_redis_streams.exceptions import InvalidMessage, ServerUnreachable
from django_redis_streams.operations import dead_letters
from django_redis_streams.wire import RedeliveryMetadata, split_metadata
from django_redis_streams.worker.system import forking

from .support.waiting import wait_until
from .support.workers import drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

APP = "django_redis_streams.contrib.opentelemetry"
bill = handler("orders", group="billing")

_exporter = InMemorySpanExporter()


@pytest.fixture(scope="module", autouse=True)
def _provider() -> None:
    """A project's own, which OpenTelemetry takes once in a process."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_exporter))
    trace.set_tracer_provider(provider)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The app is installed, and what it traces is kept."""
    _exporter.clear()
    with modify_settings(INSTALLED_APPS={"append": APP}):
        yield _exporter
    publishing.remove_middleware(traced_publication)
    handlers.remove_middleware(traced)
    signals.publish_failed.disconnect(dispatch_uid=APP)
    forking._before_exit.clear()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """The spans of that name that have ended, in the order of their ends."""
    return [each for each in spans.get_finished_spans() if each.name == name]


def trace_of(span: ReadableSpan) -> int:
    """The trace that it belongs to."""
    return span.get_span_context().trace_id


def id_of(span: ReadableSpan) -> int:
    """What its children and links name."""
    return span.get_span_context().span_id


def told(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes."""
    return dict(span.attributes or {})


def events(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    """What is noted on it."""
    return [(each.name, dict(each.attributes or {})) for each in span.events]


def letters() -> list[tuple[str, RedeliveryMetadata]]:
    """The dead letters of `orders`, by entry id, with what is known of each."""
    found = connections.get().call("XRANGE", "{orders}:dlq", "-", "+")
    return [(entry_id, split_metadata(fields)[0]) for entry_id, fields in found]


def test_a_message_is_published_and_handled_in_one_trace(spans):
    """Below the span in which it was published, with the attributes of the conventions for messaging."""
    within: list[int] = []

    @bill
    def run(message: Message) -> None:
        within.append(id_of(trace.get_current_span()))

    with trace.get_tracer("shop").start_as_current_span("checkout"):
        message = publish("orders", {"n": 1}, headers={"tenant": "a"})
    drain()
    (outer,), (sent,), (ran,) = (named(spans, each) for each in ("checkout", "publish orders", "process orders"))
    assert trace_of(outer) == trace_of(sent) == trace_of(ran)
    assert sent.parent.span_id == id_of(outer)
    assert ran.parent.span_id == id_of(sent)
    assert [link.context.span_id for link in ran.links] == [id_of(sent)]
    assert within == [id_of(ran)]
    assert (sent.kind, ran.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert told(sent) == {
        "messaging.system": "redis",
        "messaging.destination.name": "orders",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.message.id": message.id,
    }
    assert told(ran) == {
        "messaging.system": "redis",
        "messaging.destination.name": "orders",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "billing",
        "messaging.message.id": message.id,
        "redis_streams.attempt": 1,
        "code.function.name": f"{run.__module__}.{run.__qualname__}",
    }
    assert message.headers["tenant"] == "a"


def test_a_failure_and_its_retry_stay_in_the_trace(spans):
    """Each run is a span of its own; the one that raised says what."""

    @handler("orders", group="billing", backoff=(0.01, 0.01))
    def run(message: Message) -> None:
        if message.attempt == 1:
            raise ValueError("not today")

    publish("orders", {"n": 1})
    with working():
        wait_until(lambda: len(named(spans, "process orders")) == 2)
    (sent,), (first, second) = named(spans, "publish orders"), named(spans, "process orders")
    assert trace_of(sent) == trace_of(first) == trace_of(second)
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "ValueError: not today")
    assert told(first)["error.type"] == "ValueError"
    ((name, noted),) = events(first)
    assert (name, noted["exception.message"]) == ("exception", "not today")
    assert (second.status.status_code, told(second)["redis_streams.attempt"]) == (StatusCode.UNSET, 2)


def test_a_replay_stays_in_the_trace(spans):
    """Days later too: the dead letter keeps the headers."""
    rejects = [True]

    @bill
    def run(message: Message) -> None:
        if rejects:
            raise Reject("not today")

    publish("orders", {"n": 1})
    drain()
    rejects.clear()
    ((entry_id, _),) = letters()
    dead_letters.replay("orders", [entry_id], by="ann")
    drain()
    (sent,), (first, second) = named(spans, "publish orders"), named(spans, "process orders")
    assert trace_of(sent) == trace_of(first) == trace_of(second)


@pytest.mark.parametrize(
    ("asked", "event"),
    [
        (Retry(delay=30), ("retry", {"redis_streams.delay": 30, "redis_streams.counted": True})),
        (Retry(delay=30, count=False), ("retry", {"redis_streams.delay": 30, "redis_streams.counted": False})),
        (Reject("a duplicate"), ("reject", {"redis_streams.reason": "a duplicate"})),
    ],
    ids=["retry", "uncounted", "reject"],
)
def test_what_a_handler_asks_for_is_an_event_and_no_error(spans, asked, event):
    """It has done what it was written for: an alert on errors needn't wake anybody."""

    @bill
    def run(message: Message) -> None:
        raise asked

    publish("orders", {"n": 1})
    drain()
    (ran,) = named(spans, "process orders")
    assert ran.status.status_code is StatusCode.UNSET
    assert events(ran) == [event]


def test_what_is_asked_for_without_raising_is_an_event_too(spans):
    """Of a batch, with the id of the message."""

    @handler("orders", group="billing", batch=True)
    def run(messages: list[Message]) -> None:
        messages[1].reject("a duplicate")

    publish_many("orders", [{"n": 1}, {"n": 2}])
    drain()
    ((_, letter),) = letters()
    (ran,) = named(spans, "process orders")
    assert events(ran) == [("reject", {"messaging.message.id": letter.id, "redis_streams.reason": "a duplicate"})]


def test_a_coroutine_runs_in_its_span(spans, streams):
    """From its first step to its last, also where a decorator hides that it is one; so does what it publishes."""
    within: list[int] = []

    def hiding(function: Any) -> Any:
        @wraps(function)
        def call(message: Message) -> Any:
            return function(message)

        return call

    async def run(message: Message) -> None:
        within.append(id_of(trace.get_current_span()))
        await apublish("done", message.payload)

    handler("orders", group="billing", type="plain")(run)
    handler("orders", group="billing", type="hidden")(hiding(run))
    streams({"orders": {"GROUPS": {"billing": {}}}, "done": {}})
    for kind in ("plain", "hidden"):
        publish("orders", {"n": 1}, type=kind)
    drain()
    runs = named(spans, "process orders")
    assert sorted(within) == sorted(map(id_of, runs))
    assert len(set(within)) == 2
    assert sorted(each.parent.span_id for each in named(spans, "publish done")) == sorted(within)


def test_a_coroutine_that_fails_says_so(spans):
    """Its span ends with it, in error."""

    @bill
    async def run(message: Message) -> None:
        raise ValueError("not today")

    publish("orders", {"n": 1})
    drain()
    ran, *_ = named(spans, "process orders")
    assert ran.status.status_code is StatusCode.ERROR


def test_a_batch_is_linked_to_what_published_each_of_it(spans):
    """It can't be the child of several."""

    @handler("orders", group="billing", batch=True)
    def run(messages: list[Message]) -> None:
        pass

    publish("orders", {"n": 1})
    publish_many("orders", [{"n": 2}, {"n": 3}])
    drain()
    one, many = named(spans, "publish orders")
    assert told(many)["messaging.batch.message_count"] == 2
    runs = named(spans, "process orders")
    linked = [link.context.span_id for ran in runs for link in ran.links]
    assert linked == [id_of(one), id_of(many), id_of(many)]
    assert sum(told(ran)["messaging.batch.message_count"] for ran in runs) == 3
    assert {ran.parent for ran in runs} == {None}


def test_what_others_wrote_is_traced_too(spans, raw):
    """Without a context, or with one that can't be read, a run begins a trace of its own."""
    seen: list[object] = []
    bill(lambda message: seen.append(message.headers.get("traceparent")))
    raw.xadd("orders", {"n": 1})
    raw.xadd("orders", {"data": "{}", "headers": '{"traceparent": 7, "tracestate": [], "baggage": null}'})
    raw.xadd("orders", {"data": "{}", "headers": '{"traceparent": "00-x", "baggage": "=;,"}'})
    drain()
    assert seen == [None, 7, "00-x"]
    assert [ran.parent for ran in named(spans, "process orders")] == [None, None, None]


def test_baggage_travels(spans):
    """What a project's propagators carry arrives, beside the trace's own."""
    found: list[object] = []
    bill(lambda _: found.append(baggage.get_baggage("tenant")))
    token = context.attach(baggage.set_baggage("tenant", "a"))
    publish("orders", {"n": 1})
    context.detach(token)
    drain()
    assert found == ["a"]


@pytest.mark.django_db(transaction=True)
def test_a_commit_that_fails_is_an_error_of_the_run(spans):
    """The transaction of an atomic handler is within the span."""

    @handler("orders", group="billing", atomic=True)
    def run(message: Message) -> None:
        transaction.get_connection().run_on_commit.append((set(), fails, False))

    def fails() -> None:
        raise ValueError("not today")

    publish("orders", {"n": 1})
    drain()
    ran, *_ = named(spans, "process orders")
    assert ran.status.status_code is StatusCode.ERROR


def test_a_call_that_publishes_nothing_says_why(spans):
    """What can't be encoded, and headers that can't be, are told as they are without tracing."""
    with pytest.raises(InvalidMessage, match="payload"):
        publish("orders", {"n": object()})
    with pytest.raises(InvalidMessage, match="headers=7"):
        publish("orders", {"n": 1}, headers=7)
    assert [each.status.status_code for each in named(spans, "publish orders")] == [StatusCode.ERROR] * 2
    assert told(named(spans, "publish orders")[0])["error.type"] == "django_redis_streams.exceptions.InvalidMessage"


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_sent_after_the_commit_is_a_span_that_failed(spans, streams, caplog):
    """In the message's trace, where the span of the call has ended well."""
    streams(URL="unix:///nobody/listens")
    with caplog.at_level(logging.CRITICAL), transaction.atomic():
        message = publish("orders", {"n": 1})
    (called,), (unsent,) = named(spans, "publish orders"), named(spans, "send orders")
    assert called.status.status_code is StatusCode.UNSET
    assert unsent.status.status_code is StatusCode.ERROR
    assert unsent.parent.span_id == id_of(called)
    assert told(unsent)["messaging.message.id"] == message.id
    assert told(unsent)["error.type"].endswith(ServerUnreachable.__qualname__)


def test_a_broken_text_of_an_error_stays_the_handlers(spans):
    """What the handler raised is judged, not what its text raises."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @handler("orders", group="billing", reject_on=Broken)
    def run(message: Message) -> None:
        raise Broken

    publish("orders", {"n": 1})
    drain()
    ((_, letter),) = letters()
    assert "Broken" in letter.error
    assert named(spans, "process orders")[0].status.status_code is StatusCode.ERROR


def test_a_stream_without_headers_carries_no_context(spans, streams):
    """Flat entries have no field for it."""
    streams({"orders": {"FORMAT": "flat", "GROUPS": {"billing": {}}}})
    assert publish("orders", {"n": "1"}).headers == {}
    assert len(named(spans, "publish orders")) == 1


def test_a_worker_hands_over_its_spans_before_it_ends(fleet, tmp_path):
    """Its processes end without Python's clean-up, and lose none that an exporter still held."""
    path = tmp_path / "spans"
    fleet_environment = {"DJANGO_SETTINGS_MODULE": "tests.support.traced_settings", "TEST_SPANS": str(path)}
    publish("orders", {"do": "nothing"})
    publish("orders", {"do": "nothing"})
    fleet.drain("--processes=2", **fleet_environment)
    lines = [json.loads(each) for each in path.read_text().splitlines()]
    assert [name for name, _ in lines] == ["process orders"] * 2


# redis-py imports OpenTelemetry where it is there: so it isn't.
MISSING = """
import sys
sys.modules["opentelemetry"] = None
from django.conf import settings
settings.configure(INSTALLED_APPS=["django_redis_streams", *sys.argv[1:]])
import django
django.setup()
import django_redis_streams.publishing, django_redis_streams.worker.supervisor.supervisor
print([each for each in sys.modules if "contrib" in each and "streams" in each])
"""


def run_code(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """It in a process of its own."""
    return subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)


def test_nothing_is_imported_that_was_not_asked_for():
    """A project without the app needs no OpenTelemetry, and imports none of what would."""
    ended = run_code(MISSING)
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr


def test_a_missing_package_is_named():
    """A project that asks for tracing without the extra reads what to install."""
    ended = run_code(MISSING, APP)
    assert "ExtraMissing: Tracing needs the package opentelemetry-api" in ended.stderr
    assert 'pip install "django-redis-streams[otel]"' in ended.stderr
