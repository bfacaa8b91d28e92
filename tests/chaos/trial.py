"""A trial: publish and work while a nemesis strikes, mend all, wait until nothing waits, and gather the evidence."""

import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import ledgers
from .evidence import BookOf, Case, Evidence, Fault
from .nemeses import NEMESES, strikes
from .stage import Stage
from .streams import GROUPS

# Seconds that a trial waits for its first effects; and, after the last fault, until nothing waits. CLAIM_IDLE and the
# outbox's lease are 2 and 3 seconds here, and each may pass twice.
WARM_UP, DEADLINE = 20.0, 25.0
_NUMBER = re.compile(rb'"number":\s*"([\w-]+)"')


@dataclass(frozen=True, slots=True)
class Course:
    """How a trial went; see `Evidence`."""

    nemesis: str
    faults: list[Fault]
    waiting: dict[str, int]
    left: set[Case]
    recovered: float | None


def run(stage: Stage, nemesis: str, seed: int, seconds: float, mutant: str = "") -> Evidence:
    """Run a trial; return its evidence."""
    own_seed = f"{seed}/{nemesis}/"
    kind = NEMESES[nemesis]
    stage.begin(own_seed, through_proxy=kind.through_proxy, by_sentinels=kind.by_sentinels, mutant=mutant)
    try:
        _warm_up(stage)
        faults = strikes(kind(stage, random.Random(own_seed)), seconds)
        mended = time.time()
        stage.end(stage.publishers)
        settled = _settled(stage)
        waiting, left = ({}, set()) if settled is not None else (stage.waiting(), set(_left(stage)))
        stage.end(stage.workers)
        return _gathered(stage, Course(nemesis, faults, waiting, left, settled and settled - mended))
    finally:
        stage.kill([*stage.workers, *stage.publishers])
        stage.workers.clear()
        stage.publishers.clear()


def _warm_up(stage: Stage) -> None:
    """Wait until each group has had an effect."""
    until = time.monotonic() + WARM_UP
    while stage.postgresql.ask('SELECT count(DISTINCT (stream, "group")) FROM chaos_effect') != (4,):
        assert time.monotonic() < until, f"No effects within {WARM_UP:g} s:\n{stage.log()[-5000:]}"
        time.sleep(0.02)


def _settled(stage: Stage) -> float | None:
    """Wait until nothing waits; return when that was, or None at the deadline."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        if not stage.waiting():
            return time.time()
        time.sleep(0.05)
    return None


def _gathered(stage: Stage, course: Course) -> Evidence:
    from django.db import connections  # noqa: PLC0415  needs settings

    from .models import Effect, Sale  # noqa: PLC0415  as above

    connections.close_all()  # the database may have been restarted since the last trial
    rows = Effect.objects.values_list("stream", "group", "number")
    return Evidence(
        nemesis=course.nemesis,
        publications=ledgers.publications(stage.directory / "publications"),
        runs=ledgers.runs(stage.directory / "runs"),
        sales=set(Sale.objects.values_list("number", flat=True)),
        effects=Counter(rows),
        dead=Counter(_dead(stage)),
        entries=Counter((stream, number) for stream in GROUPS for number in _numbers(_range(stage, stream))),
        faults=course.faults,
        waiting=course.waiting,
        left=course.left,
        books=_books(stage),
        recovered=course.recovered,
    )


def _books(stage: Stage) -> list[BookOf]:
    from django.conf import settings  # noqa: PLC0415  needs settings
    from django.test import override_settings  # noqa: PLC0415  as above

    from django_redis_streams import inspection  # noqa: PLC0415  as above

    with override_settings(REDIS_STREAMS={**settings.REDIS_STREAMS, "CONNECTIONS": {"default": {"URL": stage.url}}}):
        found = [each for stream in GROUPS for each in inspection.books(stream)]
    return [BookOf(each.stream, each.group, each.missing, dict(each.by_others)) for each in found]


def _range(stage: Stage, key: str, begin: str = "-") -> Any:
    """Return the entries of a stream as bytes, in a form that holds all their values."""
    return stage.server.raw().execute_command("XRANGE", key, begin, "+", NEVER_DECODE=True)


def _numbers(entries: Any) -> Iterator[str]:
    for entry in entries:
        if found := _NUMBER.search(_flat(entry)):
            yield found[1].decode()


def _flat(value: Any) -> bytes:
    """Return all bytes in a reply, one after another."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        value = value.items()
    return b" ".join(map(_flat, value))


def _dead(stage: Stage) -> Iterator[Case]:
    for stream in GROUPS:
        for entry in _range(stage, f"{{{stream}}}:dlq"):
            flat = _flat(entry)
            group = re.search(rb'"group":\s*"(\w+)"', flat)
            number = _NUMBER.search(flat)
            assert group is not None, flat
            assert number is not None, flat
            yield stream, group[1].decode(), number[1].decode()


def _left(stage: Stage) -> Iterator[Case]:
    """Yield what waits, by what the server says of each place."""
    raw: Any = stage.server.raw()
    for stream, groups in GROUPS.items():
        delayed = _values(raw, f"{{{stream}}}:delayed:entries")
        rows = {row["name"]: row for row in raw.xinfo_groups(stream)}
        for group in groups:
            retrying = _values(raw, f"{{{stream}}}:retry:{group}:entries")
            unread = _range(stage, stream, f"({rows[group]['last-delivered-id']}" if group in rows else "-")
            pending = {each["message_id"] for each in raw.xpending_range(stream, group, "-", "+", 100_000)}
            held = [entry for entry in _range(stage, stream) if entry[0].decode() in pending]
            again = _range(stage, f"{{{stream}}}:redelivery:{group}")
            for number in _numbers([*delayed, *retrying, *unread, *held, *again]):
                yield stream, group, number


def _values(raw: Any, key: str) -> list[bytes]:
    return raw.execute_command("HVALS", key, NEVER_DECODE=True)
