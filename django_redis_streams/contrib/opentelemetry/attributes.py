"""The attributes that spans and metrics share, by version 1.44.0 of the conventions for messaging."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from ... import conf, connections
from ...exceptions import Reject, Retry, StreamsError

__all__ = ["SCHEMA_URL", "about", "failure", "in_lane"]

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"


def about(stream: str, operation: str) -> dict[str, Any]:
    """Return the attributes of every span and metric: system, stream, operation and server."""
    return {
        "messaging.system": "redis",
        "messaging.destination.name": stream,
        "messaging.operation.name": operation,
        **_server(stream),
    }


def _server(stream: str) -> dict[str, Any]:
    """Return where the stream's connection leads: a host and a port, or the path of a socket."""
    # Settings that can't work are told to the caller by publishing or connecting, in their own error.
    with suppress(StreamsError):
        address, port = connections.server(conf.stream(stream).connection)
        return {"server.address": address} if port is None else {"server.address": address, "server.port": port}
    return {}


def in_lane(lane: str) -> dict[str, Any]:
    """Return the attribute for a lane, the partition of a stream; nothing where the lane isn't known."""
    return {"messaging.destination.partition.id": lane} if lane else {}


def failure(error: object) -> dict[str, Any]:
    """Return the attribute for an error; nothing without one, and for `Retry` and `Reject`, which aren't failures."""
    if not isinstance(error, BaseException) or isinstance(error, Retry | Reject):
        return {}
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return {"error.type": name}
