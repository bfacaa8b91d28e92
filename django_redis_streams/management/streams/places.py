"""What the arguments of sub-commands name: a group of a stream."""

from __future__ import annotations

from django.core.management.base import CommandError

from ... import conf

__all__ = ["Place", "place"]

# A stream and a group.
Place = tuple[str, str]


def place(name: str) -> Place:
    """The stream and group of `stream:group`, both declared. Streams' names may hold colons, groups' don't.

    Raises `UnknownStream`, and `CommandError` where there is no colon.
    """
    stream, colon, group = name.rpartition(":")
    if not colon:
        raise CommandError(f"{name!r}: expected stream:group, such as 'orders:billing'.", returncode=2)
    return conf.stream(stream).name, conf.group(stream, group).name
