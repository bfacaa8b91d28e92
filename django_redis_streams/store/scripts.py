"""The Lua scripts, each a file in `scripts/` that opens with a map of its keys and arguments.

A line `--! NAME` in a script is replaced by the part `scripts/parts/NAME.lua`. The part `prelude` has what most
scripts repeat, such as the door that opens them.

A script runs by its digest (https://redis.io/docs/latest/commands/evalsha/). A server that doesn't know it
(new, restarted, flushed) answers NOSCRIPT and has changed nothing: it gets the source, once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from ..connections.link import Command, Link

__all__ = ["Command", "Script", "all_scripts", "exchange", "raise_first", "run", "script"]


_PART = re.compile(r"^--! (\w+)\n", re.MULTILINE)


def _text(*path: str) -> str:
    return resources.files(__package__).joinpath("scripts", *path).read_text("utf-8")


def _with_parts(source: str) -> str:
    """Put the parts into a script; parts may name parts."""
    return _PART.sub(lambda found: _with_parts(_text("parts", f"{found[1]}.lua")), source)


class Script:
    """One script by its file's name, without `.lua`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = _with_parts(_text(f"{name}.lua"))
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *arguments: str | float) -> Command:
        """Return the command that runs the script."""
        return ["EVALSHA", self.digest, len(keys), *keys, *arguments]


@cache
def script(name: str) -> Script:
    """Return the script of that name, read once."""
    return Script(name)


def run(link: Link, command: Command) -> Any:
    """Run one script's command; return its reply, or raise its error."""
    (reply,) = exchange(link, [command])
    if isinstance(reply, Exception):
        raise reply
    return reply


def exchange(link: Link, commands: Sequence[Command], then: Sequence[Command] = ()) -> list[Any]:
    """Send some commands at once, and behind them `then`; return all replies. An error stands in its place.

    What the server doesn't know is sent once more, and `then` behind it.
    """
    replies = link.call_many([*commands, *then])
    unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        again = link.call_many([*(_with_source(commands[index]) for index in unknown), *then])
        for index, reply in zip([*unknown, *range(len(commands), len(replies))], again, strict=True):
            replies[index] = reply
    return replies


def raise_first(replies: Iterable[object]) -> None:
    """Raise the first error among some replies, if there is one."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply


def _with_source(command: Command) -> Command:
    return ["EVAL", _source(str(command[1])), *command[2:]]


@cache
def all_scripts() -> tuple[Script, ...]:
    """Return every script there is."""
    files = resources.files(__package__).joinpath("scripts").iterdir()
    return tuple(script(file.name.removesuffix(".lua")) for file in files if file.name.endswith(".lua"))


def _source(digest: str) -> str:
    return next(each.source for each in all_scripts() if each.digest == digest)
