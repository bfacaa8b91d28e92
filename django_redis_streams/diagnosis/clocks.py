"""Whether clocks are right: the server's, on which due times, idle times and ids depend, and those of workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..inspection.records import age, moment
from ..store.consume.clock import TOLERATED_MS, ClockRecord
from .findings import Code, Finding
from .gathering import ServerFacts, StreamFacts, subject_of

__all__ = ["difference", "future_ids", "jumps", "workers_differ"]

# In seconds. A smaller difference shows in no message's age.
_DIFFERENT: Final = 5.0
_DAY: Final = 86_400
_DAY_MS: Final = 1000 * _DAY
# In seconds: ids that are further ahead are none to wait for.
_WAITED_FOR: Final = 2 * _DAY
# This many processes are enough to find their hosts.
_NAMED: Final = 5


def difference(server: ServerFacts) -> Iterator[Finding]:
    """Compare the clocks: the server's decides when a publisher's `at=` has come, and ages mix both clocks."""
    if server.clock_ahead is not None and abs(server.clock_ahead) > _DIFFERENT:
        yield Finding(
            code=Code.CLOCK_DIFFERS,
            subject=server.subject,
            message="The clocks of the server and of this host differ: messages published with at= come early or late.",
            evidence=f"The server's shows {abs(server.clock_ahead):,.0f} s "
            f"{'more' if server.clock_ahead > 0 else 'less'} than this host's.",
            fix="Have both hosts keep time by NTP.",
        )


def workers_differ(server: ServerFacts) -> Iterator[Finding]:
    """Compare the workers' clocks with the server's, as each was when the worker last said that it is there."""
    wrong = [each for each in server.workers if abs(each.clock_ahead) > _DIFFERENT]
    if wrong:
        some = "; ".join(
            f"{each.host}, pid {each.pid}: {abs(each.clock_ahead):,.0f} s {'more' if each.clock_ahead > 0 else 'less'}"
            for each in wrong[:_NAMED]
        ) + ("; …" if len(wrong) > _NAMED else "")
        yield Finding(
            code=Code.WORKER_CLOCK_DIFFERS,
            subject=subject_of(server.connection),
            message=f"The clocks of {len(wrong):,} worker processes are wrong: so are the times that they log, the "
            "waits of messages in their metrics, and what they publish with at=.",
            evidence=f"They show, compared with the server's: {some}.",
            fix="Have the workers' hosts keep time by NTP.",
        )


def jumps(stream: StreamFacts) -> Iterator[Finding]:
    """Report jumps. A clock that goes back makes messages wait longer; one that jumps ahead makes all seem idle."""
    if told := "; ".join(_signs(stream.state.clock)):
        yield Finding(
            code=Code.CLOCK_JUMPED,
            subject=stream.config.name,
            message="The server's clock jumps: retries, delayed messages and claims may come early or late.",
            evidence=f"{told[0].upper()}{told[1:]}.",
            fix="Have the server's host keep time by NTP, in small steps.",
        )


def future_ids(stream: StreamFacts) -> Iterator[Finding]:
    """Find ids ahead of the server's clock: ids only grow, so all that is published gets such an id too."""
    clock, config = stream.state.clock, stream.config
    ahead = [f"{last} in {key}" for key, last in stream.state.last_ids.items() if age(clock.now, last) is None]
    if ahead:
        by_age = " MAX_AGE doesn't trim them." if config.max_age is not None else ""
        yield Finding(
            code=Code.IDS_IN_FUTURE,
            subject=config.name,
            message=f"The stream's ids are {_span(clock.ids_ahead)} ahead of the server's clock, as will be those of "
            f"all that is published: an id is never below the last one. Nothing is lost, but ages are unknown.{by_age}",
            evidence=f"The last id is {', '.join(ahead)}. A client gave such an id to XADD or XSETID, or the clock was "
            "ahead.",
            fix=_begin_anew(stream),
        )


def _begin_anew(stream: StreamFacts) -> str:
    """Return how a stream's ids become right again: by waiting, or by a lower last id once the stream is empty."""
    clock, name = stream.state.clock, stream.config.name
    position = f"{clock.now}-0"
    keys = [key for key, last in stream.state.last_ids.items() if age(clock.now, last) is None]
    steps = [
        f"have its groups settle all that is there (manage.py streams status {name})",
        f"manage.py streams trim {name} --maxlen 0 --exact",
        *(f"XSETID {key} {position}, which the server refuses until that is empty" for key in keys),
        *(
            f"manage.py streams groups reset {name}:{group} --start {position}"
            for group in sorted({*stream.config.groups, *stream.state.group_names})
        ),
    ]
    if stream.config.lanes:
        # Else a reset would pass over what is published meanwhile to a lane whose ids are right.
        steps = ["stop its producers", *steps, "start the producers again"]
    wait = f"Wait for {_span(clock.ids_ahead)}, if its clock is right now. " if clock.ids_ahead <= _WAITED_FOR else ""
    return f"Let no client choose ids. {wait}To have them begin anew, in this order: {'; '.join(steps)}."


def _span(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds <= _WAITED_FOR else f"{seconds / _DAY:,.0f} days"


def _signs(clock: ClockRecord) -> Iterator[str]:
    if clock.jump and clock.now - clock.jumped < _DAY_MS:
        did = "went back" if clock.jump < 0 else "jumped ahead"
        yield f"it {did} by {abs(clock.jump) / 1000:,.1f} s, at {moment(clock.jumped):%Y-%m-%d %H:%M:%S %Z}"
    if clock.seen - clock.now > TOLERATED_MS:
        yield f"it shows {(clock.seen - clock.now) / 1000:,.1f} s less than a worker or publisher saw before"
