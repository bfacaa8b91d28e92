"""`REDIS_STREAMS`, parsed when first used and again after `setting_changed`.

`schema` is what it parses to, `parse` how, `values` what a single value may be. Nothing is read at import.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from typing import Any

from django.conf import global_settings, settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from ..exceptions import ConfigurationError, UnknownStream
from .parse import parse
from .problems import Problem, nearest
from .schema import Config, ConnectionConfig, GroupConfig, ModelEvents, StreamConfig
from .showing import hidden, shown

__all__ = [
    "Config",
    "ConnectionConfig",
    "GroupConfig",
    "ModelEvents",
    "Problem",
    "StreamConfig",
    "any_group",
    "connection",
    "get",
    "group",
    "hidden",
    "misspelt",
    "nearest",
    "prefixed",
    "problems",
    "shown",
    "stream",
    "usable",
]


# What goes behind the KEY_PREFIX of each connection, and whether MIN_REPLICAS counts.
_prefix = ""
_with_replicas = True


@cache
def _parsed() -> tuple[Config, tuple[Problem, ...]]:
    return parse(getattr(settings, "REDIS_STREAMS", None), _prefix, with_replicas=_with_replicas)


@contextmanager
def prefixed(prefix: str, *, with_replicas: bool = True) -> Iterator[None]:
    """Put a prefix behind every connection's KEY_PREFIX within it, whatever the settings become. For tests.

    Where their server has no replicas, MIN_REPLICAS is passed over.
    """
    global _prefix, _with_replicas
    outer = _prefix, _with_replicas
    _prefix, _with_replicas = ":".join(filter(None, (_prefix, prefix))), _with_replicas and with_replicas
    _parsed.cache_clear()
    try:
        yield
    finally:
        _prefix, _with_replicas = outer
        _parsed.cache_clear()


@receiver(setting_changed, dispatch_uid="django_redis_streams.conf")
def _forget(*, setting: str, **_: Any) -> None:
    if setting == "REDIS_STREAMS":
        _parsed.cache_clear()


def get() -> Config:
    """Return all of `REDIS_STREAMS`. Raises a `ConfigurationError` that names each problem in it."""
    config, found = _parsed()
    if found:
        raise ConfigurationError("\n".join(problem.sentence for problem in found))
    return config


def problems() -> tuple[Problem, ...]:
    """Return what is wrong with `REDIS_STREAMS`, for the system checks; empty when nothing is."""
    return _parsed()[1]


def misspelt() -> str:
    """Return the name of a setting that is nearly REDIS_STREAMS, or "" if there is none or REDIS_STREAMS is set."""
    if hasattr(settings, "REDIS_STREAMS"):
        return ""
    others = [name for name in dir(settings) if name.isupper() and not hasattr(global_settings, name)]
    return next(iter(get_close_matches("REDIS_STREAMS", others, n=1, cutoff=0.8)), "")


def _missing() -> str:
    """Return a sentence that says that REDIS_STREAMS is missing, or "" where it is set."""
    if getattr(settings, "REDIS_STREAMS", None) is not None:
        return ""
    other = misspelt()
    return "The setting REDIS_STREAMS is missing, so no stream is declared." + (
        f" Did you mean REDIS_STREAMS where {other} stands?" if other else ""
    )


def usable() -> Config:
    """Return the part of `REDIS_STREAMS` that could be parsed, for callers that must not raise; see `problems`."""
    return _parsed()[0]


def connection(alias: str) -> ConnectionConfig:
    """Return one connection's settings. Raises `ConfigurationError` for an alias that isn't declared."""
    connections = get().connections
    try:
        return connections[alias]
    except KeyError:
        raise ConfigurationError(
            _missing()
            or f"Connection {shown(alias)} isn't declared in REDIS_STREAMS['CONNECTIONS'].{nearest(alias, connections)}"
        ) from None


def stream(name: str) -> StreamConfig:
    """Return one stream's settings. Raises `UnknownStream` for a stream that isn't declared."""
    streams = get().streams
    try:
        return streams[name]
    except (KeyError, TypeError):
        raise UnknownStream(
            _missing() or f"Stream {shown(name)} isn't declared in REDIS_STREAMS['STREAMS'].{nearest(name, streams)}"
        ) from None


def group(stream_name: str, name: str) -> GroupConfig:
    """Return one group's settings. Raises `UnknownStream` where the stream or the group isn't declared."""
    groups = stream(stream_name).groups
    try:
        return groups[name]
    except (KeyError, TypeError):
        raise UnknownStream(
            f"Group {shown(name)} isn't declared in REDIS_STREAMS['STREAMS'][{stream_name!r}]['GROUPS']."
            f"{nearest(name, groups)}"
        ) from None


def any_group(stream_name: str, name: str) -> GroupConfig:
    """Return the settings of a group that needn't be declared: an undeclared one has the defaults.

    Raises `UnknownStream` for a stream that isn't declared, and for a name that no group may have.
    """
    groups = stream(stream_name).groups
    if not name or set(name) & set("{}:"):
        raise UnknownStream(f"{shown(name)} can't be the name of a group: it is empty or holds one of {{ }} :")
    return groups.get(name) or GroupConfig(name=name)
