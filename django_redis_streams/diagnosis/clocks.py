"""Whether clocks are right: the server's, on which due times, idle times and ids depend, and those of workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..inspection.records import moment
from ..store.consume.clock import TOLERATED_MS, ClockRecord
from .findings import Code, Finding
from .gathering import ServerFacts, StreamFacts

__all__ = ["difference", "jumps", "workers_differ"]

# In seconds. A smaller difference shows in no message's age.
_DIFFERENT: Final = 5.0
_DAY_MS: Final = 86_400_000
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
            subject=server.subject,
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


def _signs(clock: ClockRecord) -> Iterator[str]:
    if clock.jump and clock.now - clock.jumped < _DAY_MS:
        did = "went back" if clock.jump < 0 else "jumped ahead"
        yield f"it {did} by {abs(clock.jump) / 1000:,.1f} s, at {moment(clock.jumped):%Y-%m-%d %H:%M:%S %Z}"
    if clock.seen - clock.now > TOLERATED_MS:
        yield f"it shows {(clock.seen - clock.now) / 1000:,.1f} s less than a worker or publisher saw before"
    if clock.newest - clock.now > TOLERATED_MS:
        yield f"the newest entry's id is {(clock.newest - clock.now) / 1000:,.1f} s ahead of it"
