"""Running the handlers as a worker does, in the calling thread and on its database connection.

A message takes its real way: its group reads it, a handler runs it, the server settles it; it comes again by the
group's retries, or ends in the dead letter queue. No thread is started: in a TestCase another thread would
find the tables locked, and nothing of what the test has saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Final

from redis.exceptions import ResponseError

from .. import conf, connections, handlers
from ..conf import GroupConfig, StreamConfig
from ..connections import Link
from ..exceptions import ConfigurationError, ServerRefused
from ..handlers import HandlerSet
from ..keys import split_label
from ..store.consume.membership import Membership
from ..store.consume.promote import Held, make_due, promote
from ..worker.consumer.batch_runner import BatchRunner
from ..worker.consumer.consumer import Consumer
from ..worker.execution.databases import left_alone
from ..worker.execution.executor import Executor
from ..worker.shared.counters import COUNTED
from ..worker.shared.scoreboard import Slots
from ..worker.stop import Stop
from ..worker.timing import DEFAULT_TIMING
from .commits import Commits
from .unsent import send_unsent
from .watched import Watch

__all__ = ["Drained", "drain"]

_NAME = "drain"
# It never waits for a message, so a reply is late sooner than a worker's.
_TIMING: Final = changed(DEFAULT_TIMING, block=0.0)
_Target = tuple[StreamConfig, GroupConfig]


@dataclass(slots=True)
class Drained:
    """The result: how many runs had each outcome, and the errors of handlers, except `Retry` and `Reject`.

    A message that failed once and then succeeded counts as one `retried` and one `acknowledged`.
    """

    acknowledged: int = 0
    skipped: int = 0
    repeated: int = 0
    retried: int = 0
    dead_lettered: int = 0
    errors: list[BaseException] = field(default_factory=list)

    @property
    def settled(self) -> int:
        """How many runs there were in all."""
        return self.acknowledged + self.skipped + self.repeated + self.retried + self.dead_lettered


def drain(*labels: str, hasten: bool = False, raise_errors: bool = False, limit: int = 1_000) -> Drained:
    """Run all unread messages until nothing is left to do now; return what happened.

    `labels` are streams ("orders") and groups ("orders:billing"); without any, every group that has handlers. Messages
    that handlers publish are run too. What waits in the outbox is sent first, due or not, as nobody else does.
    Callbacks of handlers that wait for a commit are called, as a TestCase never commits. With `hasten`, retries and
    delayed messages are run at once; without, they stay until they are due. With
    `raise_errors`, the first error of a handler is raised, once its message is settled by its group's settings;
    messages not begun by then are left for the next `drain`.

    Raises `ServerUnreachable`, `ServerRefused`, and the error of an unavailable database, where a worker would try
    again; `UnknownStream`; `ConfigurationError` for a named group without handlers; and `RuntimeError` above `limit`
    runs, since a handler that always asks for `Retry(count=False)` would never end.
    """
    served = list(_served(labels))
    aliases = {stream.connection for stream, _ in served}
    for alias in aliases:
        connections.open(alias, timeout=5).close()  # a consumer would retry an unreachable server for ever
    drained, watch, commits = Drained(), Watch(limit, raise_errors=raise_errors), Commits()
    drained.errors = watch.errors
    with left_alone():
        while send_unsent(aliases) + _round(served, watch, drained) + commits.run() + _promoted(served, hasten=hasten):
            pass
    return drained


def _served(names: Sequence[str]) -> Iterator[_Target]:
    for stream in conf.get().streams.values():
        for group in stream.groups.values():
            if not names and handlers.of(stream.name, group.name):
                yield stream, group
    for name in names:
        yield from _named(name)


def _named(name: str) -> Iterator[_Target]:
    stream_name, group_name = (name, "") if name in conf.get().streams else split_label(name)
    stream = conf.stream(stream_name)
    groups = [conf.group(stream.name, group_name)] if group_name else list(stream.groups.values())
    found = [(stream, group) for group in groups if handlers.of(stream.name, group.name)]
    if not found:
        raise ConfigurationError(f"drain({name!r}): no handler is declared for it, so nothing would ever be run.")
    yield from found


def _round(served: Sequence[_Target], watch: Watch, drained: Drained) -> int:
    """Run each group once, until it has nothing left to do; return how many messages were settled."""
    before = drained.settled
    for stream, group in served:
        consumer = _consumer(stream, group, watch)
        try:
            consumer.run()
        except ResponseError as error:
            raise ServerRefused(f"{consumer.runner.membership.label} can't be drained: {error}") from error
        for name, count in zip(COUNTED, consumer.runner.counters.read().counts, strict=True):
            if name != "claimed":
                attribute = name.replace("-", "_")
                setattr(drained, attribute, getattr(drained, attribute) + count)
        watch.raise_what_ended_it()
    return drained.settled - before


def _consumer(stream: StreamConfig, group: GroupConfig, watch: Watch) -> Consumer:
    """Make a worker's consumer that at once claims messages that were handed back.

    It promotes when idle, as no promoter runs beside it: else a retry that became due would keep it from ending.
    """
    declared = handlers.of(stream.name, group.name, _NAME)
    watched = HandlerSet([changed(each, function=watch.over(each), atomic=False, once=False) for each in declared])
    watch.stop = Stop()
    runner = BatchRunner(
        Membership(stream, group, _NAME),
        Executor(watched, group, Slots(stream, group)),
        stop=watch.stop,
        timing=_TIMING,
        patient=False,
    )
    runner.claiming.stale.set()
    return Consumer(runner, when_idle=lambda link: _promote(link, stream, [group.name]))


def _promoted(served: Sequence[_Target], *, hasten: bool) -> int:
    """Move due messages to where groups read them, with `hasten` all that wait; return how many were moved."""
    moved = 0
    for stream in {stream.name: stream for stream, _ in served}.values():
        link = connections.get(stream.connection)
        groups = [group.name for each, group in served if each.name == stream.name]
        if hasten:
            make_due(link, stream.keys, groups)
        moved += _promote(link, stream, groups)
    return moved


def _promote(link: Link, stream: StreamConfig, groups: Sequence[str]) -> int:
    promotion = promote(link, stream, groups, _NAME)
    if isinstance(promotion, Held):
        raise ServerRefused(f"Another process moves what is due of {stream.name!r}: drain where no worker runs.")
    if promotion.problems:
        raise ServerRefused(f"What is due of {stream.name!r} can't be moved: {promotion.problems[0]}")
    return promotion.moved
