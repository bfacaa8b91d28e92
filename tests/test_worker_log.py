"""What a worker logs of its messages: fields for a formatter, and lines that nothing in a message can forge."""

import json
import logging
from typing import Any

import pytest

from django_redis_streams.handlers import handler

from .support.books import totals
from .support.waiting import wait_until
from .support.workers import drain, working

pytestmark = pytest.mark.usefixtures("isolated_handlers")

Raw = Any


def test_a_log_line_has_the_place_the_message_and_the_attempt_as_fields(
    raw: Raw, streams: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A formatter may use them; the traceback is a field too, not a part of the line."""
    caplog.set_level(logging.DEBUG)
    streams({"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0}}}})

    @handler("orders", group="billing")
    def run(message: Any) -> None:
        if message.payload["do"] != "ok":
            raise RuntimeError("no")

    raw.xadd("orders", {"do": "ok"})
    raw.xadd("orders", {"do": "fail"})
    drain(name="tested")
    ok, failed = sorted((each for each in caplog.records if hasattr(each, "message_id")), key=lambda each: each.levelno)
    for record in (ok, failed):
        assert (record.stream, record.group, record.consumer, record.attempt) == ("orders", "billing", "tested", 1)
    assert failed.message_id.startswith("orders/")
    assert failed.handler.endswith("run")
    assert 'raise RuntimeError("no")' in failed.traceback
    assert "\n" not in failed.getMessage()


def test_what_comes_in_a_message_forges_no_line(raw: Raw, streams: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Line breaks of a payload, a type, an error or a reason are written as such."""
    caplog.set_level(logging.DEBUG)
    streams({"orders": {"GROUPS": {"billing": {"MAX_RETRIES": 0}}}})
    forged = "x\nERROR all is lost\r\x1b[31m\u2028"

    @handler("orders", group="billing", type="known*")
    def run(message: Any) -> None:
        if "error" in message.payload:
            raise type(forged, (Exception,), {})(message.payload["error"])
        message.reject(forged)

    raw.xadd("orders", {"type": forged})
    raw.xadd("orders", {"type": "known" + forged, "error": forged})
    raw.xadd("orders", {"type": "known", forged: forged})
    raw.xadd("orders", {"id": "01940000-0000-7000-8000-000000000000", "data": "{" + forged})
    raw.xadd("{orders}:redelivery:billing", {"drs": json.dumps({"id": forged, "source": forged, "entry": forged})})
    drain()
    assert totals(raw) == {"dead-lettered": 5}
    for record in caplog.records:
        assert not set("\n\r\x1b\u2028") & set(record.getMessage()), record.getMessage()


def test_entries_that_are_gone_are_logged_in_one_line(raw: Raw, streams: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It counts them, and names the first of them."""
    streams({"orders": {"GROUPS": {"billing": {"CLAIM_IDLE": 1}}}})
    handler("orders", group="billing")(lambda _: None)
    raw.xgroup_create("orders", "billing", "0", mkstream=True)
    entries = [raw.xadd("orders", {"do": "ok"}) for _ in range(12)]
    raw.xreadgroup("billing", "dead", {"orders": ">"})
    raw.xclaim("orders", "billing", "returned", 0, entries, justid=True)
    raw.xdel("orders", *entries)
    with working():
        wait_until(lambda: raw.xpending("orders", "billing")["pending"] == 0)
    found = [each for each in caplog.records if "were deleted while they were pending" in each.getMessage()]
    assert sum(each.args[1] for each in found) == 12
    assert len(found) < 4
    assert found[0].getMessage().endswith(f"'orders/{entries[4]}', …")
