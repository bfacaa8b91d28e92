"""Arguments of sub-commands that name a group of a stream."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.management.base import CommandError, CommandParser

from ... import conf
from ...keys import split_label

__all__ = ["Target", "add_groups", "any_target", "target", "targets"]

# The names of a stream and a group.
Target = tuple[str, str]


def add_groups(parser: CommandParser) -> None:
    """Add the argument that names groups; without any, the command is about all groups."""
    parser.add_argument("groups", nargs="*", metavar="stream:group", help="Which groups (default: all).")


def target(name: str) -> Target:
    """Return the stream and group of `stream:group`, both of which must be declared.

    Raises `UnknownStream`, and `CommandError` for a text that names no group.
    """
    stream, group = any_target(name)
    return stream, conf.group(stream, group).name


def any_target(name: str) -> Target:
    """Return the stream and group of `stream:group`; the group needn't be declared."""
    stream, group = split_label(name)
    if not group:
        raise CommandError(f"{name!r}: expected stream:group, such as 'orders:billing'.", returncode=2)
    return conf.stream(stream).name, group


def targets(names: Sequence[str]) -> list[Target]:
    """Return the targets of these names, without duplicates; without names, those of every declared group."""
    if names:
        return list(dict.fromkeys(target(name) for name in names))
    return [(stream.name, group) for stream in conf.get().streams.values() for group in stream.groups]
