"""What a server says of itself, where that decides whether messages are safe with it."""

from __future__ import annotations

from dataclasses import dataclass

from ..connections import Link

__all__ = ["Facts", "facts"]


@dataclass(frozen=True, slots=True)
class Facts:
    """None stands for what the server doesn't tell.

    `version` is that of Redis whose commands it has, also where it is a Valkey. `eviction` is its
    `maxmemory-policy`. `append_only` tells whether it keeps an append-only file.
    """

    version: tuple[int, ...] | None
    eviction: str | None
    append_only: bool | None


def facts(link: Link) -> Facts:
    """What INFO says. Raises `ResponseError` where an ACL forbids to ask."""
    lines = str(link.call("INFO")).splitlines()
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    append_only = found.get("aof_enabled")
    return Facts(
        version=_version(found.get("redis_version", "")),
        eviction=found.get("maxmemory_policy"),
        append_only=None if append_only is None else append_only == "1",
    )


def _version(text: str) -> tuple[int, ...] | None:
    parts = text.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else None
