"""What `REDIS_STREAMS` parses to. Durations are in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..keys import DEFAULT_LANE, StreamKeys

__all__ = ["Config", "ConnectionConfig", "GroupConfig", "ModelEvents", "StreamConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionConfig:
    """One server, the master of a set of them, or a cluster.

    `url` is redis://, rediss://, unix://, embedded://, or redis+sentinel:// and rediss+sentinel://, which name the
    sentinels that know the master, or redis+cluster:// and rediss+cluster://, which name nodes; `key_prefix` goes
    before every key, a colon after it; `options` go to redis-py's connection, `sentinel_options` to those to the
    sentinels. `address_remap`, a function or its dotted path, turns an announced address into one that can be reached.
    The repr tells no password.
    """

    alias: str
    url: str = field(repr=False)
    key_prefix: str = ""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    address_remap: Callable[[tuple[str, int]], tuple[str, int]] | str | None = None

    @property
    def by_sentinels(self) -> bool:
        """Whether the URL names sentinels instead of a server."""
        return self.url.startswith(("redis+sentinel://", "rediss+sentinel://"))

    @property
    def by_cluster(self) -> bool:
        """Whether the URL names nodes of a cluster: each stream is on the node that has its slot."""
        return self.url.startswith(("redis+cluster://", "rediss+cluster://"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfig:
    """One consumer group of one stream.

    `start` is where a new group begins: "0", "$" or an entry id. `max_retries` runs follow the first. `backoff` is base
    and cap of the exponential. Entries idle for `claim_idle` seconds are claimed. A call of a handler that takes
    `timeout` seconds is ended; never with None. A message that ended its worker in `max_crashes` runs in quarantine is
    dead-lettered. At most `batch_size` entries of a source are read at once. `unmatched` says what becomes of a message
    that no handler takes: "dead-letter" or "skip"; `unmatched_given` whether the settings chose one. Over all workers,
    at most `rate` messages a second are begun, and at most `group_concurrency` are being run; in one consumer,
    coroutines run for at most `async_concurrency` at once. The inbox remembers a message for `inbox_retention` seconds.
    """

    name: str
    start: str = "0"
    max_retries: int = 10
    backoff: tuple[float, float] = (2.0, 600.0)
    claim_idle: float = 60.0
    timeout: float | None = 600.0
    max_crashes: int = 2
    batch_size: int = 100
    unmatched: str = "dead-letter"
    unmatched_given: bool = False
    rate: float | None = None
    group_concurrency: int | None = None
    async_concurrency: int = 100
    inbox_retention: float = 604_800.0

    @property
    def limited(self) -> bool:
        """Whether its workers share a limit."""
        return self.rate is not None or self.group_concurrency is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEvents:
    """Events of a model that the project doesn't own; `model` is "app_label.Model"."""

    model: str
    on: tuple[str, ...] = ("created", "updated", "deleted")
    fields: tuple[str, ...] | None = None
    type: str | None = None
    lane: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """One stream.

    It is trimmed to about `maxlen` entries and `max_age` seconds, exactly with `exact_trim`, never below what a
    group still needs. Publishing cuts it to about `hard_maxlen`, whatever groups need. `max_payload` is in bytes,
    `format` is "json" or "flat". `lanes` are its priorities, the most urgent first; with `lane_weights`, one number
    for each of them, they share what is read. With `outbox` "always" each message goes through the database's table of
    the outbox, with "fallback" what couldn't be sent; what was sent stays there for `outbox_keep` seconds. Publishing
    waits for up to `replica_timeout` seconds until `min_replicas` replicas have a message; with None it doesn't.
    """

    name: str
    keys: StreamKeys
    connection: str = "default"
    groups: Mapping[str, GroupConfig] = field(default_factory=lambda: MappingProxyType({}))
    maxlen: int | None = None
    max_age: float | None = None
    exact_trim: bool = False
    hard_maxlen: int | None = None
    lanes: tuple[str, ...] | None = None
    lane_weights: Mapping[str, int] | None = None
    max_payload: int = 1024 * 1024
    format: str = "json"
    outbox: str | None = None
    outbox_keep: float | None = None
    min_replicas: int | None = None
    replica_timeout: float = 0.2
    models: tuple[ModelEvents, ...] = ()

    @property
    def lane_names(self) -> tuple[str, ...]:
        """Its lanes, the most urgent first; without LANES the default one alone."""
        return self.lanes or (DEFAULT_LANE,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of `REDIS_STREAMS`."""

    connections: Mapping[str, ConnectionConfig] = field(default_factory=lambda: MappingProxyType({}))
    streams: Mapping[str, StreamConfig] = field(default_factory=lambda: MappingProxyType({}))
    handler_modules: tuple[str, ...] = ()

    def streams_of(self, alias: str) -> dict[str, StreamConfig]:
        """Return the streams of a connection, by name."""
        return {name: each for name, each in self.streams.items() if each.connection == alias}
