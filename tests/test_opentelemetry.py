"""Traces and metrics of what publishes and handles, by OpenTelemetry's own SDK and on a real server."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import wraps
from typing import Any

import pytest
from django.db import transaction
from django.test.utils import modify_settings
from opentelemetry import baggage, context, metrics, trace
from opentelemetry.sdk.metrics import Counter as SDKCounter
from opentelemetry.sdk.metrics import Histogram as SDKHistogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.semconv.schemas import Schemas
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
from django_redis_streams.contrib.opentelemetry import guarding, measuring
from django_redis_streams.contrib.opentelemetry import spans as traced_spans
from django_redis_streams.contrib.opentelemetry.attributes import SCHEMA_URL
from django_redis_streams.contrib.opentelemetry.processing import traced
from django_redis_streams.contrib.opentelemetry.publishing import traced_publication
from django_redis_streams.exceptions import InvalidMessage, ServerUnreachable
from django_redis_streams.operations import dead_letters
from django_redis_streams.outbox.models import OutboxMessage
from django_redis_streams.wire import RedeliveryMetadata, split_metadata
from django_redis_streams.worker.consumer import observing

from .support.waiting import wait_until
from .support.workers import drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers", "streams")

APP = "django_redis_streams.contrib.opentelemetry"
bill = handler("orders", group="billing")

_exporter = InMemorySpanExporter()
# What was measured since it was last asked.
_reader = InMemoryMetricReader(
    {SDKCounter: AggregationTemporality.DELTA, SDKHistogram: AggregationTemporality.DELTA}  # type: ignore[dict-item]
)


@pytest.fixture(scope="session", autouse=True)
def _provider() -> None:
    """A project's own, which OpenTelemetry takes once in a process."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_exporter))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([_reader]))


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The app is installed, and what it traces and measures is kept."""
    _exporter.clear()
    _reader.get_metrics_data()
    with modify_settings(INSTALLED_APPS={"append": APP}):
        yield _exporter
    publishing.remove_middleware(traced_publication)
    publishing.remove_observer(measuring.count_sent)
    observing.remove_observer(measuring.count_received)
    handlers.remove_middleware(traced)
    signals.publish_failed.disconnect(dispatch_uid=APP)
    signals.publish_postponed.disconnect(dispatch_uid=APP)
    signals.worker_process_ending.disconnect(dispatch_uid=APP)


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


def server() -> dict[str, Any]:
    """The attributes that tell where the tests' server listens."""
    address, port = connections.server()
    return {"server.address": address} | ({} if port is None else {"server.port": port})


Measured = dict[str, list[tuple[dict[str, Any], Any]]]


def measured() -> Measured:
    """By metric, what was measured since this was last asked: the attributes, with a sum or the data of a histogram."""
    data = _reader.get_metrics_data()
    found: Measured = {}
    for metric in [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            found.setdefault(metric.name, []).append((dict(point.attributes), getattr(point, "value", point)))
    return found


def counted(found: Measured, name: str, attribute: str) -> dict[Any, int]:
    """How many messages, or calls, a metric has by the values of an attribute."""
    return {values.get(attribute): getattr(data, "count", data) for values, data in found.get(name, [])}


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
        "messaging.destination.partition.id": "default",
        **server(),
    }
    assert told(ran) == {
        "messaging.system": "redis",
        "messaging.destination.name": "orders",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "billing",
        "messaging.client.id": "tested",
        "messaging.destination.partition.id": "default",
        **server(),
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


@pytest.mark.django_db(transaction=True)
def test_a_message_that_was_left_out_is_an_event(spans, raw):
    """Its effect was committed before; the handler's function wasn't called."""

    @handler("orders", group="billing", once=True)
    def run(message: Message) -> None:
        pass

    publish("orders", {"n": 1})
    ((_, fields),) = raw.xrange("orders")
    raw.xadd("orders", fields)
    drain()
    first, second = named(spans, "process orders")
    assert (events(first), events(second)) == ([], [("repeated", {})])
    assert second.status.status_code is StatusCode.UNSET


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


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", ["always", "fallback"])
def test_what_the_outbox_keeps_is_a_span_that_says_so(spans, streams, caplog, mode):
    """After a commit, and outside a transaction: the sending failed, and the message isn't lost."""
    streams({"orders": {"OUTBOX": mode}}, URL="unix:///nobody/listens")
    with caplog.at_level(logging.CRITICAL):
        with transaction.atomic():
            committed = publish("orders", {"n": 1})
        outside = publish("orders", {"n": 2})
    OutboxMessage.objects.all().delete()
    kept = named(spans, "send orders")
    assert [told(each)["messaging.message.id"] for each in kept] == [committed.id, outside.id]
    assert [[event.name for event in each.events] for each in kept] == [["exception", "postponed"]] * 2
    assert {each.status.status_code for each in kept} == {StatusCode.ERROR}
    assert kept[0].parent.span_id == id_of(named(spans, "publish orders")[0])


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


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://ann:secret@example.com:6390/3", {"server.address": "example.com", "server.port": 6390}),
        ("rediss://:secret@[::1]/0", {"server.address": "::1", "server.port": 6379}),
        ("unix://ann:secret@/run/valkey.sock?db=2", {"server.address": "/run/valkey.sock"}),
    ],
    ids=["host", "default port", "socket"],
)
@pytest.mark.django_db(transaction=True)
def test_a_server_is_named_without_its_users(spans, streams, url, expected):
    """As host and port, or as the path of its socket."""
    streams(URL=url)
    with transaction.atomic():
        publish("orders", {"n": 1})
        transaction.set_rollback(True)
    (called,) = named(spans, "publish orders")
    assert {name: value for name, value in told(called).items() if name.startswith("server")} == expected
    assert not {"ann", "secret"} & set(re.findall(r"\w+", str(told(called))))


def test_lanes_are_partitions(spans, streams):
    """A call for messages of several lanes names none."""
    streams({"orders": {"LANES": ["urgent", "default"], "GROUPS": {"billing": {}}}})
    partition = "messaging.destination.partition.id"
    handler("orders", group="billing", type="one")(lambda _: None)
    handler("orders", group="billing", type="many", batch=True)(lambda _: None)
    publish_many("orders", [{"n": 1}] * 2, type="one", lane="urgent")
    drain()
    publish("orders", {"n": 2}, type="many", lane="urgent")
    publish("orders", {"n": 3}, type="many")
    drain()
    assert [told(each)[partition] for each in named(spans, "publish orders")] == ["urgent", "urgent", "default"]
    *alone, batch = [told(each) for each in named(spans, "process orders")]
    assert [each[partition] for each in alone] == ["urgent", "urgent"]
    assert (batch["messaging.batch.message_count"], partition in batch) == (2, False)
    found = measured()
    assert counted(found, "messaging.client.sent.messages", partition) == {"urgent": 3, "default": 1}
    assert counted(found, "messaging.client.consumed.messages", partition) == {"urgent": 3, "default": 1}
    assert counted(found, "messaging.process.duration", partition) == {"urgent": 2, None: 1}


def test_names_are_those_of_the_conventions(spans):
    """As the package that is made from the conventions has them, in the version of the schema that is told."""
    bill(lambda _: None)
    publish("orders", {"n": 1})
    drain()
    sources = (messaging_attributes, messaging_metrics, error_attributes, server_attributes)
    known = {value for source in sources for value in vars(source).values() if isinstance(value, str)}
    ended = spans.get_finished_spans()
    ours = {name for span in ended for name in told(span) if not name.startswith(("redis_streams.", "code."))}
    data = _reader.get_metrics_data()
    (scope,) = data.resource_metrics[0].scope_metrics
    assert ours | {each.name for each in scope.metrics} <= known
    assert {each.instrumentation_scope.schema_url for each in ended} == {scope.scope.schema_url} == {SCHEMA_URL}
    assert SCHEMA_URL in {each.value for each in Schemas}


def test_messages_are_counted_and_timed(spans):
    """Each once as it is sent, and once as it is received, with the attributes that the conventions require."""
    bill(lambda _: None)
    publish("orders", {"n": 1})
    publish_many("orders", [{"n": 2}, {"n": 3}])
    drain()
    shared = {"messaging.system": "redis", "messaging.destination.name": "orders", **server()}
    shared["messaging.destination.partition.id"] = "default"
    group = {"messaging.consumer.group.name": "billing"}
    found = measured()
    assert found["messaging.client.sent.messages"] == [(shared | {"messaging.operation.name": "send"}, 3)]
    assert found["messaging.client.consumed.messages"] == [
        (shared | group | {"messaging.operation.name": "receive"}, 3)
    ]
    ((attributes, sendings),) = found["messaging.client.operation.duration"]
    assert attributes == shared | {"messaging.operation.name": "send", "messaging.operation.type": "send"}
    ((attributes, calls),) = found["messaging.process.duration"]
    assert attributes == shared | group | {"messaging.operation.name": "process"}
    assert (sendings.count, calls.count) == (2, 3)
    advised = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert tuple(sendings.explicit_bounds) == tuple(calls.explicit_bounds) == advised
    lasted = sum(each.end_time - each.start_time for each in named(spans, "process orders"))
    assert calls.sum == pytest.approx(lasted / 1e9)
    assert 0 < sendings.sum < 10


@pytest.mark.django_db(transaction=True)
def test_what_a_transaction_holds_back_is_not_counted_as_sent(spans):
    """Before the commit, nothing is sent."""
    with transaction.atomic():
        publish_many("orders", [{"n": 1}, {"n": 2}])
        assert "messaging.client.sent.messages" not in measured()
    assert counted(measured(), "messaging.client.sent.messages", "error.type") == {None: 2}


def test_what_cannot_be_sent_is_counted_by_its_error(spans, streams):
    """As is the sending."""
    streams(URL="unix:///nobody/listens")
    with pytest.raises(ServerUnreachable):
        publish_many("orders", [{"n": 1}, {"n": 2}])
    found, error = measured(), "django_redis_streams.exceptions.ServerUnreachable"
    assert counted(found, "messaging.client.sent.messages", "error.type") == {error: 2}
    assert counted(found, "messaging.client.operation.duration", "error.type") == {error: 1}


@pytest.mark.parametrize(
    ("raised", "error"), [(ValueError("no"), "ValueError"), (Retry(delay=30), None), (Reject("no"), None)]
)
@pytest.mark.parametrize("is_async", [False, True], ids=["function", "coroutine"])
def test_a_call_that_fails_is_timed_by_its_error(spans, raised, error, is_async):
    """What a handler asks for isn't an error."""

    def run(message: Message) -> None:
        raise raised

    async def run_async(message: Message) -> None:
        raise raised

    bill(run_async if is_async else run)
    publish("orders", {"n": 1})
    drain()
    assert counted(measured(), "messaging.process.duration", "error.type") == {error: 1}


def test_a_message_that_runs_again_alone_was_received_once(spans):
    """A batch that raised is three calls: of both, and of each."""

    @handler("orders", group="billing", batch=True)
    def run(messages: list[Message]) -> None:
        if len(messages) > 1:
            raise ValueError("one at a time")

    publish_many("orders", [{"n": 1}, {"n": 2}])
    drain()
    found = measured()
    assert counted(found, "messaging.client.consumed.messages", "error.type") == {None: 2}
    assert counted(found, "messaging.process.duration", "error.type") == {"ValueError": 1, None: 2}


def test_broken_providers_harm_no_message(spans, monkeypatch, caplog):
    """It is published, handled and acknowledged; each type of error is logged once."""

    class Broken(Exception):
        pass

    def breaks(*_: object, **__: object) -> None:
        raise Broken("not today")

    guarding._logged.clear()
    monkeypatch.setattr(type(traced_spans.TRACER), "start_span", breaks)
    for owner in (measuring._sent, measuring._received, measuring._operation, measuring._process):
        monkeypatch.setattr(owner, "add" if hasattr(owner, "add") else "record", breaks)
    attempts: list[int] = []
    bill(lambda message: attempts.append(message.attempt))
    publish("orders", {"n": 1})
    publish("orders", {"n": 2})
    drain()
    assert attempts == [1, 1]
    assert letters() == []
    assert sum("OpenTelemetry failed" in each.getMessage() for each in caplog.records) == 1


def test_a_worker_hands_over_its_spans_and_metrics_before_it_ends(fleet, tmp_path):
    """Its processes end without Python's clean-up, and lose none that an exporter still held."""
    path, counts = tmp_path / "spans", tmp_path / "metrics"
    fleet_environment = {
        "DJANGO_SETTINGS_MODULE": "tests.support.traced_settings", "TEST_SPANS": str(path), "TEST_METRICS": str(counts),
    }  # fmt: skip
    publish("orders", {"do": "nothing"})
    publish("orders", {"do": "nothing"})
    fleet.drain("--processes=2", **fleet_environment)
    lines = [json.loads(each) for each in path.read_text().splitlines()]
    assert [name for name, _ in lines] == ["process orders"] * 2
    assert all(client for _, client in lines)
    found = [json.loads(each) for each in counts.read_text().splitlines()]
    assert sum(value for name, value in found if name == "messaging.client.consumed.messages") == 2


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
