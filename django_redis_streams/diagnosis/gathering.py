"""The facts for a diagnosis: each server is asked once, all at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from redis.exceptions import ResponseError

from .. import conf, handlers, inspection
from ..conf import ConnectionConfig, GroupConfig, StreamConfig
from ..connections import Link
from ..exceptions import ServerUnreachable, StreamsError
from ..handlers import HandlerSet
from ..inspection import (
    Activities,
    Books,
    ConsumerState,
    GroupActivity,
    GroupState,
    RunningHandler,
    StreamState,
    WorkerProcess,
)  # fmt: skip
from ..inspection.undeclared import UndeclaredStreams, undeclared_streams
from ..keys import EntryId
from ..operations.groups import Waiting, waiting
from ..store.consume.clock import seconds_ahead, server_time
from ..store.consume.groups import abandoned_groups, delivered_to
from ..store.observe.cluster import ClusterFacts, cluster_facts
from ..store.observe.lanes import left_in_lanes
from ..store.observe.server import Facts, facts, required_replicas
from .asking import Refusal, ask_all

__all__ = [
    "MINUTES", "GroupFacts", "Observed", "ServerFacts", "StreamFacts", "gather", "is_embedded", "least_replicas",
    "subject_of",
]  # fmt: skip

# How far back the workers' activity is looked at.
MINUTES: Final = 60
# In seconds, for all servers together.
_WITHIN: Final = 10


def subject_of(connection: ConnectionConfig) -> str:
    """Return the name by which findings call a connection."""
    return f"connection {connection.alias!r}"


def is_embedded(connection: ConnectionConfig) -> bool:
    """Return whether a connection leads to a server for development, whose settings are this package's."""
    return connection.url.startswith("embedded:")


def least_replicas(alias: str) -> int:
    """Return for how many replicas publishing waits, of the streams of a connection for the most."""
    return max((each.min_replicas or 0 for each in conf.get().streams_of(alias).values()), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """One connection; `told` is what its server says of itself, or the error of asking it.

    `required_replicas` is without how many replicas it refuses writes; None where no stream waits for one, or it
    doesn't tell. Of a cluster, each `node` with slots has facts of its own; the first has all that is about the
    connection, too: `cluster` is what a node says of the whole, or the error of asking it.

    Its clock shows at least `clock_ahead` seconds more than this host's (negative: less); None where it is unknown.
    `undeclared` are the streams there that no setting declares, or the error of looking for them; None where nobody
    looked. `workers` are the processes that serve its streams.
    """

    connection: ConnectionConfig
    told: Facts | Refusal
    clock_ahead: float | None = None
    undeclared: UndeclaredStreams | Exception | None = None
    workers: Sequence[WorkerProcess] = ()
    required_replicas: int | None = None
    node: str = ""
    cluster: ClusterFacts | Refusal | None = None

    @property
    def subject(self) -> str:
        """The name by which findings call the connection, or a node of its cluster."""
        return f"{subject_of(self.connection)}{self.node and f', node {self.node}'}"

    @property
    def embedded(self) -> bool:
        """Whether the connection leads to a server for development, whose settings are this package's."""
        return is_embedded(self.connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """One declared group of a stream.

    `has_dead_letters`: some of its dead letters are kept. `last_error` is the error of the newest one, or else of a
    waiting retry; "" where it has neither. `workers` are the processes that serve it, `runs` what workers run of it,
    the longest first.
    """

    stream: StreamConfig
    config: GroupConfig
    state: GroupState
    activity: GroupActivity | None
    consumers: Sequence[ConsumerState]
    handlers: HandlerSet | Exception
    workers: Sequence[WorkerProcess] = ()
    runs: Sequence[RunningHandler] = ()
    has_dead_letters: bool = False
    last_error: str = ""

    @property
    def label(self) -> str:
        """The group's name as commands take it: `stream:group`."""
        return f"{self.stream.name}:{self.config.name}"

    @property
    def alive(self) -> bool:
        """Whether a consumer of the group is alive."""
        return self.state.consumers > 0

    @property
    def waiting(self) -> int | None:
        """How many messages still have to be run, None where the server can't tell."""
        if self.state.unread is None:
            return None
        return self.state.unread + self.state.pending + self.state.retrying

    @property
    def waits(self) -> bool:
        """Whether any message still has to be run."""
        return self.waiting != 0 if self.waiting is not None else self.state.oldest_unread != 0

    @property
    def oldest_unread(self) -> str:
        """How old its oldest unread message is, in words."""
        return _in_words(self.state.oldest_unread)

    @property
    def oldest(self) -> str:
        """How old the oldest message of each kind is that waits, in words."""
        ages = {"unread": self.state.oldest_unread, "pending": self.state.oldest_pending}
        told = [f"the oldest {kind} is {_in_words(age)}" for kind, age in ages.items() if age != 0]
        return "; ".join(told) or "all that waits is retries"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """One stream, with the `books` of all groups, declared or not.

    `left` counts the messages left in lanes that aren't declared any more: (lane, group, how many at most).
    `positions` has for each group on the server the id up to which it was given all messages, in all lanes.
    `abandoned` are groups there that workers or commands of this package once served, and that aren't declared: with
    what waits for each. `workers` are the processes that serve it.
    """

    config: StreamConfig
    state: StreamState
    books: Sequence[Books]
    left: Sequence[tuple[str, str, int]]
    positions: Mapping[str, EntryId]
    abandoned: Mapping[str, Waiting]
    groups: Sequence[GroupFacts]
    workers: Sequence[WorkerProcess]

    @property
    def undeclared_groups(self) -> Sequence[Books]:
        """The books of the groups that the settings don't declare."""
        return [each for each in self.books if each.group not in self.config.groups]


@dataclass(frozen=True, slots=True)
class Observed:
    """All facts. `unreadable` holds the streams that couldn't be read, each with its error."""

    servers: Sequence[ServerFacts]
    streams: Sequence[StreamFacts]
    unreadable: Mapping[str, Exception]


Members = Mapping[tuple[str, str], HandlerSet | Exception]


@dataclass(frozen=True, slots=True)
class _Told:
    """What a server says of itself, or a node of a cluster; the fields are those of `ServerFacts`."""

    node: str
    told: Facts | Refusal
    clock_ahead: float | None = None
    required_replicas: int | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    told: Sequence[_Told]
    cluster: ClusterFacts | Refusal | None
    undeclared: UndeclaredStreams | Exception
    streams: Mapping[str, StreamFacts | Exception]


def _in_words(age: float | None) -> str:
    return "of an unknown age, as its id lies in the future" if age is None else f"{age:,.0f} s old"


def gather(*, embedded: bool = True) -> Observed:
    """Ask all servers at the same time, for ten seconds at most. Raises `ConfigurationError`.

    Servers for development are left out unless `embedded` asks for them: asking starts them. Of a server that can't be
    reached nothing else is known.
    """
    config = conf.get()
    members = {
        (each.name, group): _members(each.name, group) for each in config.streams.values() for group in each.groups
    }
    asked = [alias for alias, each in config.connections.items() if embedded or not is_embedded(each)]
    answers = ask_all(asked, partial(_answer, members), within=_WITHIN)
    servers: list[ServerFacts] = []
    found: dict[str, StreamFacts | Exception] = {}
    for alias, answer in answers.items():
        if isinstance(answer, _Answer):
            servers += _of_answer(config.connections[alias], answer)
            found |= answer.streams
        else:
            servers.append(ServerFacts(connection=config.connections[alias], told=answer))
    known = [found[name] for name in config.streams if name in found]
    return Observed(
        servers,
        [each for each in known if isinstance(each, StreamFacts)],
        {name: each for name, each in found.items() if isinstance(each, Exception)},
    )


def _members(stream: str, group: str) -> HandlerSet | Exception:
    """Return the group's handlers, or the error of loading them: a module of the project may raise anything."""
    try:
        return handlers.of(stream, group)
    except Exception as error:  # noqa: BLE001  the diagnosis reports it
        return error


def _of_answer(connection: ConnectionConfig, answer: _Answer) -> Iterator[ServerFacts]:
    known_streams = [each for each in answer.streams.values() if isinstance(each, StreamFacts)]
    workers = {each.name: each for stream in known_streams for each in stream.workers}
    of_all: dict[str, Any] = {
        "undeclared": answer.undeclared,
        "workers": list(workers.values()),
        "cluster": answer.cluster,
    }
    for each in answer.told:
        yield ServerFacts(
            connection=connection,
            node=each.node,
            told=each.told,
            clock_ahead=each.clock_ahead,
            required_replicas=each.required_replicas,
            **of_all,
        )
        of_all = {}


def _answer(members: Members, alias: str, link: Link) -> _Answer:
    nodes = link.each_node()
    told = [_told(alias, each) for each in nodes]
    there = [link for link, each in zip(nodes, told, strict=True) if not isinstance(each.told, ServerUnreachable)]
    return _Answer(
        told,
        _cluster(there) if conf.get().connections[alias].by_cluster else None,
        _undeclared(alias, link),
        {name: _stream_or_error(members, each, link) for name, each in conf.get().streams_of(alias).items()},
    )


def _told(alias: str, link: Link) -> _Told:
    try:
        told: Facts | ResponseError = facts(link)
    except ResponseError as error:
        told = error
    if isinstance(told, ServerUnreachable):
        return _Told(link.node, told)
    # An ACL that refuses it would log that each time.
    required = required_replicas(link) if least_replicas(alias) else None
    return _Told(link.node, told, _clock_ahead(link), required)


def _cluster(nodes: Sequence[Link]) -> ClusterFacts | Refusal | None:
    """Return what a node says of the cluster: of those that can be reached, one that says that it is down."""
    answers: list[ClusterFacts | Refusal] = []
    for each in nodes:
        try:
            answers.append(cluster_facts(each))
        except ResponseError as error:
            answers.append(error)
    known = [each for each in answers if isinstance(each, ClusterFacts)]
    return next(iter([*(each for each in known if each.state != "ok"), *known, *answers]), None)


def _undeclared(alias: str, link: Link) -> UndeclaredStreams | Exception:
    try:
        return undeclared_streams(link, conf.get().connections[alias])
    except ResponseError as error:
        return error


def _clock_ahead(link: Link) -> float | None:
    asked = time.time()
    try:
        shown = server_time(link)
    except ResponseError:
        return None
    return seconds_ahead(shown, asked, time.time())


def _stream_or_error(members: Members, stream: StreamConfig, link: Link) -> StreamFacts | Exception:
    try:
        return _stream(members, stream, link)
    except (ResponseError, StreamsError) as error:
        return error


def _stream(members: Members, stream: StreamConfig, link: Link) -> StreamFacts:
    seen = inspection.overview(stream.name)
    done = inspection.activity(stream.name, minutes=MINUTES)
    there = inspection.workers(stream.name)
    for problem in (*seen.problems, *done.problems, *there.problems):
        raise problem.error
    (state,) = seen.streams
    return StreamFacts(
        config=stream,
        state=state,
        books=inspection.books(stream.name),
        left=left_in_lanes(link, stream),
        positions=_positions(link, state),
        abandoned={group: waiting(stream.name, group) for group in abandoned_groups(link, stream)},
        groups=[_group(members, stream, each, done, there.processes) for each in state.groups],
        workers=there.processes,
    )


def _positions(link: Link, state: StreamState) -> dict[str, EntryId]:
    """Return the id up to which each group has got all; "0-0" where it isn't on a lane that has had entries."""
    lanes = [delivered_to(link, key) for key, last in state.last_ids.items() if last != "0-0"]
    return {group: min(EntryId.of(lane.get(group, "0-0")) for lane in lanes) for group in set().union(*lanes)}


def _group(
    members: Members, stream: StreamConfig, state: GroupState, done: Activities, there: Sequence[WorkerProcess]
) -> GroupFacts:
    runs = [run for process in there for run in process.runs if run.group == state.name]
    of_group: dict[str, Any] = {"stream": stream.name, "group": state.name, "count": 1}
    dead = inspection.dead_letters(**of_group)
    failed = dead.rows or (inspection.retrying(**of_group).rows if state.retrying else ())
    return GroupFacts(
        stream=stream,
        config=stream.groups[state.name],
        state=state,
        activity=done.of(stream.name, state.name),
        consumers=inspection.consumers(stream.name, state.name),
        handlers=members[stream.name, state.name],
        workers=[each for each in there if any(served.group == state.name for served in each.serves)],
        runs=sorted(runs, key=lambda each: -each.seconds),
        has_dead_letters=bool(dead.rows or dead.next),
        last_error=failed[0].error if failed else "",
    )
