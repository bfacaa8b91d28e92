"""Operations on streams and groups that aren't on the server: an error of the package, or a sensible answer."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_redis_streams.exceptions import StreamsError, UnknownStream
from django_redis_streams.operations import groups, trimming, waiting

Raw = Any
LIMITS: dict[str, Any] = {"maxlen": 1, "max_age": 1.0}

# Each function, asked about a group that is declared or isn't.
OPERATIONS: dict[str, Callable[[str], Any]] = {
    "pause": lambda group: groups.pause("orders", group, by="ann"),
    "resume": lambda group: groups.resume("orders", group, by="ann"),
    "is_paused": lambda group: groups.is_paused("orders", group),
    "create": lambda group: groups.create("orders", group, "0", by="ann"),
    "waiting": lambda group: groups.waiting("orders", group),
    "delete": lambda group: groups.delete("orders", group, by="ann"),
    "delete, by force": lambda group: groups.delete("orders", group, by="ann", force=True),
    "reset_effect": lambda group: groups.reset_effect("orders", group, "0"),
    "reset_effect, to the end": lambda group: groups.reset_effect("orders", group, "$"),
    "reset": lambda group: groups.reset("orders", group, "0", by="ann"),
    "reset, to the end": lambda group: groups.reset("orders", group, "$", by="ann"),
    "remove_consumer": lambda group: groups.remove_consumer("orders", group, "c", release=False, by="ann"),
    "remove_consumer, and release": lambda group: groups.remove_consumer("orders", group, "c", release=True, by="ann"),
    "discard_retries": lambda group: waiting.discard_retries("orders", group, ["orders/1-0"], by="ann"),
    "publish_delayed": lambda _: waiting.publish_delayed("orders", ["x"], by="ann"),
    "discard_delayed": lambda _: waiting.discard_delayed("orders", ["x"], by="ann"),
    "release": lambda group: waiting.release(
        "orders",
        group,
        [(source, "1-0", "c") for source in ("main", "redelivery", "main:high", "redelivery:high")],
        by="ann",
    ),
    "excess": lambda _: trimming.excess("orders", **LIMITS),
    "trim": lambda _: trimming.trim("orders", **LIMITS, exact=True, by="ann"),
    "drop": lambda _: trimming.drop("orders", **LIMITS, exact=True, by="ann"),
}
STATES: dict[str, Callable[[Raw], Any]] = {
    "nothing": lambda _: None,
    "the stream alone": lambda raw: raw.xadd("orders", {"n": 1}),
    "another group": lambda raw: raw.xgroup_create("orders", "loyalty", "0", mkstream=True),
    "the group in one lane": lambda raw: [raw.xgroup_create("orders", each, mkstream=True) for each in "ab"],
    "the record alone": lambda raw: raw.hset("{orders}:groups", mapping={"a": "0-0", "b": "0-0"}),
}
NO_GROUP = [each for each in STATES if each != "the group in one lane"]

LANES = {"orders": {"LANES": ["high", "default"], "GROUPS": {"a": {}}}}


@pytest.fixture(autouse=True)
def _lanes(streams: Callable[..., None]) -> None:
    """A stream of two lanes declares the group `a`."""
    streams(LANES)


@pytest.mark.parametrize("group", ["a", "b"], ids=["declared", "undeclared"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_answer_of_the_server_s_gets_through(raw: Raw, operation: str, state: str, group: str) -> None:
    """Neither as an error, nor as the reason why something was refused."""
    STATES[state](raw)
    try:
        answer = OPERATIONS[operation](group)
    except StreamsError as error:
        said = str(error)
    else:
        said = " ".join(map(str, getattr(answer, "refused", {}).values()))
    assert not re.search("NOGROUP|script|XGROUP", said)


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.startswith("reset")])
@pytest.mark.parametrize("state", NO_GROUP)
def test_a_group_that_is_not_there_is_neither_moved_nor_made(raw: Raw, operation: str, state: str) -> None:
    """A message count of zero would say that all is well."""
    STATES[state](raw)
    before = sorted(raw.keys("*"))
    with pytest.raises(UnknownStream, match=r"'a' of stream 'orders' isn't on the server.*groups create orders:a"):
        OPERATIONS[operation]("a")
    assert sorted(raw.keys("*")) == before


def test_a_group_that_goes_in_the_midst_of_a_reset_is_told_as_such(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its stream or without."""
    monkeypatch.setattr(groups, "_delivered", lambda *_: {"default": "0-0"})
    for _ in range(2):
        with pytest.raises(UnknownStream, match="isn't on the server"):
            groups.reset("orders", "b", "0", by="ann")
        raw.xadd("orders", {"n": 1})


def test_the_command_says_so_too(raw: Raw) -> None:
    """In one line, before it asks anything."""
    raw.xadd("orders", {"n": 1})
    with pytest.raises(CommandError, match="isn't on the server"):
        call_command("streams", "groups", "reset", "orders:a", "--start", "0")


@pytest.mark.parametrize(("group", "made"), [("a", True), ("b", False)], ids=["declared", "undeclared"])
def test_a_reset_makes_a_declared_group_on_the_lanes_where_it_is_missing(raw: Raw, group: str, *, made: bool) -> None:
    """A worker would make it there at the begin. Another client's group doesn't know of lanes."""
    for key in ("orders", "{orders}:lane:high"):
        raw.xadd(key, {"n": 1}, id="5-0")
    raw.xgroup_create("orders", group, "0")
    assert groups.reset("orders", group, "$", by="ann") == "5-0"
    there = [each["last-delivered-id"] for each in raw.xinfo_groups("{orders}:lane:high")]
    assert there == (["5-0"] if made else [])
    assert groups.reset_effect("orders", group, "0").again == (2 if made else 1)
