"""`REDIS_STREAMS` to frozen dataclasses, and all that is wrong with it at once.

Each level is a table: key → (attribute, what its value may be). A key that a table doesn't have is reported with
the nearest one that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from redis.crc import key_slot

from ..keys import StreamKeys
from . import values
from .problems import Problem, nearest
from .schema import Config, ConnectionConfig, GroupConfig, ModelEvents, StreamConfig
from .showing import shown

__all__ = ["parse"]

Table = Mapping[str, tuple[str, Callable[[Any], Any]]]

_TOP: Final[Table] = {
    "CONNECTIONS": ("connections", values.mapping),
    "STREAMS": ("streams", values.mapping),
    "HANDLER_MODULES": ("handler_modules", values.texts),
}
_CONNECTION: Final[Table] = {
    "URL": ("url", values.url),
    "KEY_PREFIX": ("key_prefix", values.prefix),
    "OPTIONS": ("options", values.mapping),
    "SENTINEL_OPTIONS": ("sentinel_options", values.mapping),
    "ADDRESS_REMAP": ("address_remap", values.optional(values.function)),
}
_STREAM: Final[Table] = {
    "CONNECTION": ("connection", values.text),
    "GROUPS": ("groups", values.mapping),
    "MAXLEN": ("maxlen", values.optional(values.positive)),
    "MAX_AGE": ("max_age", values.optional(values.duration)),
    "EXACT_TRIM": ("exact_trim", values.boolean),
    "HARD_MAXLEN": ("hard_maxlen", values.optional(values.positive)),
    "DEAD_LETTER_STREAM": ("dead_letter_stream", values.optional(values.text)),
    "LANES": ("lanes", values.optional(values.lanes)),
    "LANE_WEIGHTS": ("lane_weights", values.optional(values.weights)),
    "MAX_PAYLOAD": ("max_payload", values.positive),
    "FORMAT": ("format", values.choice("json", "flat")),
    "OUTBOX": ("outbox", values.optional(values.choice("always", "fallback"))),
    "OUTBOX_KEEP": ("outbox_keep", values.optional(values.duration)),
    "MIN_REPLICAS": ("min_replicas", values.optional(values.positive)),
    "REPLICA_TIMEOUT": ("replica_timeout", values.duration),
    "MODELS": ("models", values.mapping),
}
_GROUP: Final[Table] = {
    "START": ("start", values.entry_position),
    "MAX_RETRIES": ("max_retries", values.whole),
    "BACKOFF": ("backoff", values.pair),
    "CLAIM_IDLE": ("claim_idle", values.duration),
    "TIMEOUT": ("timeout", values.optional(values.duration)),
    "MAX_CRASHES": ("max_crashes", values.positive),
    "BATCH_SIZE": ("batch_size", values.up_to(10_000)),
    "RATE": ("rate", values.optional(values.rate)),
    "GROUP_CONCURRENCY": ("group_concurrency", values.optional(values.up_to(1_000_000))),
    "ASYNC_CONCURRENCY": ("async_concurrency", values.up_to(10_000)),
    "UNMATCHED": ("unmatched", values.choice("dead-letter", "skip")),
    "INBOX_RETENTION": ("inbox_retention", values.duration),
}
_MODEL: Final[Table] = {
    "ON": ("on", values.events),
    "FIELDS": ("fields", values.optional(values.some)),
    "TYPE": ("type", values.optional(values.message_type)),
    "LANE": ("lane", values.optional(values.text)),
}
# In characters: columns of the outbox's table.
_LONGEST_IN_TABLE: Final = 255
# What to write instead of a server's URL, for settings where it is easily put by mistake.
_HINTS: Final[Mapping[str, str]] = {
    "REDIS_STREAMS": "Write {'CONNECTIONS': {'default': {'URL': …}}, 'STREAMS': {…}}.",
    "CONNECTIONS": "Write {'default': {'URL': …}}: servers by alias.",
    "CONNECTION": "Name an alias of CONNECTIONS, such as 'default'.",
    "STREAMS": "Write {'orders': {}}: streams by name.",
    "GROUPS": "Write {'billing': {}}: groups by name.",
}


def parse(raw: Any, prefix: str = "", *, with_replicas: bool = True) -> tuple[Config, tuple[Problem, ...]]:
    """Return the settings, and their problems; with problems, what could be parsed.

    `prefix` goes behind each connection's KEY_PREFIX. Without replicas, MIN_REPLICAS is None whatever it says.
    """
    reader = _Reader(prefix, with_replicas)
    config = reader.config({} if raw is None else raw)
    return config, tuple(reader.problems)


@dataclass
class _Reader:
    prefix: str
    with_replicas: bool
    problems: list[Problem] = field(default_factory=list)

    def report(self, identity: str, message: str, hint: str) -> None:
        self.problems.append(Problem(identity, message, hint))

    def read(self, where: str, table: Table, raw: Any, name: str = "") -> dict[str, Any]:
        """Read one level by its table; report wrong and unknown keys and leave them out. `name` is the level's name."""
        try:
            given = values.mapping(raw)
        except ValueError as error:
            self.report("E002", f"{where} is {shown(raw, name)}: {error}.", _HINTS.get(name, ""))
            return {}
        found = {}
        for key, value in given.items():
            if key not in table:
                self.report(
                    "E001", f"{where} has an unknown key {shown(key)}.", nearest(str(key).upper(), table).strip()
                )
                continue
            attribute, accept = table[key]
            try:
                found[attribute] = accept(value)
            except ValueError as error:
                self.report("E002", f"{where}[{key!r}] is {shown(value, key)}: {error}.", _HINTS.get(key, ""))
        return found

    def config(self, raw: Any) -> Config:
        top = self.read("REDIS_STREAMS", _TOP, raw, "REDIS_STREAMS")
        connections = {alias: self.connection(alias, each) for alias, each in top.pop("connections", {}).items()}
        by_cluster = {alias for alias, each in connections.items() if each.by_cluster}
        streams = {
            name: self.stream(name, each, connections)
            for name, each in top.pop("streams", {}).items()
            if self.named("stream", name, "{}")
        }
        self.distinct(streams.values())
        self.in_one_slot(each for each in streams.values() if each.connection in by_cluster)
        return Config(connections=MappingProxyType(connections), streams=MappingProxyType(streams), **top)

    def connection(self, alias: str, raw: Any) -> ConnectionConfig:
        where = f"REDIS_STREAMS['CONNECTIONS'][{alias!r}]"
        found = self.read(where, _CONNECTION, raw, "CONNECTIONS")
        if isinstance(raw, Mapping) and "URL" not in raw:
            self.report("E003", f"{where} has no 'URL'.", "Give it one, such as 'redis://localhost:6379/0'.")
        self.named("KEY_PREFIX", found.get("key_prefix", ""), "{}")
        found["key_prefix"] = ":".join(filter(None, (found.get("key_prefix"), self.prefix)))
        made = ConnectionConfig(alias=alias, **{"url": "", **found})
        self.without_sentinels(where, made)
        return made

    def without_sentinels(self, where: str, connection: ConnectionConfig) -> None:
        """Refuse what is said of sentinels, or of what they or a cluster announce, where the URL names neither."""
        if not connection.url or connection.by_sentinels:
            return
        if connection.sentinel_options:
            message = f"{where} has 'SENTINEL_OPTIONS', but its URL names no sentinels."
            hint = "Let URL begin with redis+sentinel:// or rediss+sentinel://, or remove SENTINEL_OPTIONS."
            self.report("E002", message, hint)
        if connection.address_remap and not connection.by_cluster:
            message = f"{where} has 'ADDRESS_REMAP', but its URL names neither sentinels nor nodes of a cluster."
            hint = "Let URL begin with redis+cluster:// or redis+sentinel:// (or rediss+…), or remove ADDRESS_REMAP."
            self.report("E002", message, hint)

    def stream(self, name: str, raw: Any, connections: Mapping[str, ConnectionConfig]) -> StreamConfig:
        where = f"REDIS_STREAMS['STREAMS'][{name!r}]"
        found = self.read(where, _STREAM, raw, name)
        given = "connection" in found
        alias = found.setdefault("connection", "default")
        if alias not in connections:
            default = "" if given else ", which is the default of its CONNECTION"
            self.report(
                "E004", f"{where} uses the unknown connection {alias!r}{default}.", nearest(alias, connections).strip()
            )
        prefix = connections[alias].key_prefix if alias in connections else ""
        self.lanes(where, found)
        self.lengths(where, found)
        self.outbox(where, name, found)
        self.replicas(where, found)
        dlq = found.pop("dead_letter_stream", None)
        return StreamConfig(
            name=name,
            keys=StreamKeys(_prefixed(prefix, name), dlq and _dead_letters(prefix, name, dlq)),
            groups=MappingProxyType(dict(self.groups(where, found.pop("groups", {})))),
            models=tuple(self.models(where, found.pop("models", {}))),
            **found,
        )

    def lanes(self, where: str, found: dict[str, Any]) -> None:
        """Check lanes, whose names become parts of keys, and their weights. A wrong name leaves out all lanes."""
        lanes, weights = found.get("lanes"), found.get("lane_weights")
        sound = [name for name in lanes or () if self.named("lane", name, "{}:")]
        if len(sound) < len(lanes or ()):
            lanes = found["lanes"] = None
        elif weights and not lanes:
            self.report("E002", f"{where} has 'LANE_WEIGHTS' without 'LANES'.", "Declare LANES, or remove the weights.")
        for name in set(weights or ()) - set(lanes or weights or ()):
            message = f"{where}['LANE_WEIGHTS'] names {name!r}, which is none of its LANES."
            self.report("E002", message, nearest(name, lanes or ()).strip())
        found["lane_weights"] = (
            MappingProxyType({name: weights.get(name, 1) for name in lanes}) if weights and lanes else None
        )

    def lengths(self, where: str, found: Mapping[str, Any]) -> None:
        """Refuse a stream that is cut before it is trimmed: it would lose what trimming keeps, and gain nothing."""
        maxlen, hard = found.get("maxlen"), found.get("hard_maxlen")
        if maxlen and hard and hard < maxlen:
            message = f"{where} has the 'HARD_MAXLEN' {hard}, below its 'MAXLEN' {maxlen}, which is never reached then."
            self.report("E002", message, "Raise HARD_MAXLEN well above MAXLEN, or remove MAXLEN.")

    def outbox(self, where: str, name: str, found: Mapping[str, Any]) -> None:
        """Refuse what the outbox's table can't hold, and rows kept where no message has one."""
        if "outbox_keep" in found and found["outbox_keep"] is not None and found.get("outbox") != "always":
            message = f"{where} has 'OUTBOX_KEEP' without 'OUTBOX': 'always', so there is nothing to keep."
            self.report("E002", message, "Set OUTBOX to 'always', or remove OUTBOX_KEEP.")
        if found.get("outbox") and max(map(len, (name, *(found.get("lanes") or ())))) > _LONGEST_IN_TABLE:
            message = (
                f"{where} has an 'OUTBOX', but its name or a lane's is longer than {_LONGEST_IN_TABLE} characters."
            )
            self.report("E002", message, "Take shorter names, or remove OUTBOX.")

    def replicas(self, where: str, found: dict[str, Any]) -> None:
        """Refuse a time to wait for replicas where nobody waits for any."""
        if "replica_timeout" in found and found.get("min_replicas") is None:
            message = f"{where} has 'REPLICA_TIMEOUT' without 'MIN_REPLICAS', so nothing waits for replicas."
            self.report("E002", message, "Set MIN_REPLICAS to 1 or more, or remove REPLICA_TIMEOUT.")
        if not self.with_replicas:
            found["min_replicas"] = None

    def groups(self, where: str, raw: Mapping[str, Any]) -> Iterator[tuple[str, GroupConfig]]:
        for name, each in raw.items():
            if self.named("group", name, "{}:"):
                found = self.read(f"{where}['GROUPS'][{name!r}]", _GROUP, each, name)
                yield name, GroupConfig(name=name, unmatched_given="unmatched" in found, **found)

    def models(self, where: str, raw: Mapping[str, Any]) -> Iterator[ModelEvents]:
        for label, each in raw.items():
            yield ModelEvents(model=label, **self.read(f"{where}['MODELS'][{label!r}]", _MODEL, each, label))

    def named(self, what: str, name: str, forbidden: str) -> bool:
        """Return whether a name may be part of a key: braces would move it to another hash slot."""
        wrong = [character for character in forbidden if character in name]
        if wrong:
            hint = f"Take a name without {' and '.join(forbidden)}."
            self.report("E005", f"The {what} name {name!r} holds {wrong[0]!r}.", hint)
        return not wrong

    def distinct(self, streams: Any) -> None:
        """Refuse streams or dead letter queues in one key of one server: they would eat each other's entries."""
        owners: dict[tuple[str, str], str] = {}
        for each in streams:
            for key in (each.keys.main, each.keys.dlq):
                other = owners.setdefault((each.connection, key), each.name)
                if other != each.name or each.keys.main == each.keys.dlq:
                    self.report(
                        "E006",
                        f"Streams {other!r} and {each.name!r} use one key {key!r} of connection {each.connection!r}.",
                        "Rename one of them, or its DEAD_LETTER_STREAM.",
                    )

    def in_one_slot(self, streams: Iterable[StreamConfig]) -> None:
        """Refuse dead letters in another hash slot than their stream: no script of a cluster may touch both.

        All other keys are in that of the stream by their names.
        """
        for each in streams:
            if key_slot(each.keys.dlq.encode()) != key_slot(each.keys.main.encode()):
                self.report(
                    "E009",
                    f"Stream {each.name!r} has its dead letters in the key {each.keys.dlq!r}, which a cluster keeps in "
                    "another slot than the stream, so no message could become a dead letter.",
                    f"Remove its DEAD_LETTER_STREAM, or begin it with '{{{each.name}}}:'.",
                )


def _prefixed(prefix: str, name: str) -> str:
    return f"{prefix}:{name}" if prefix else name


def _dead_letters(prefix: str, stream: str, name: str) -> str:
    """Return the key of dead letters; a name that begins with the stream's in braces stays in its slot."""
    tag = f"{{{stream}}}"
    if name.startswith(tag):
        return f"{{{_prefixed(prefix, stream)}}}{name.removeprefix(tag)}"
    return _prefixed(prefix, name)
