"""Error replies about the server rather than the command: that it can't serve now, or not all keys."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from ..exceptions import ServerUnreachable

__all__ = [
    "BY_CLUSTER", "ClusterDown", "OnNoNode", "OnOtherNode", "PartUnreachable", "Redirect", "cannot_serve", "explained",
    "moves", "part_of",
]  # fmt: skip

# All of these are mended by connecting again, later or to the server that the address leads to by then:
# - READONLY, UNBLOCKED: it was a master and is a replica now (a blocked read gets the second).
# - MASTERDOWN, TRYAGAIN: it waits for its master, the end of a slot's move.
# - BUSY: a script runs for too long. (BUSYGROUP and BUSYKEY are other words, and about one command.)
# LOADING, NOAUTH, WRONGPASS and "max number of clients" are connection errors in redis-py already.
# Not here: NOPERM, OOM, MISCONF, NOREPLICAS, MOVED, CLUSTERDOWN. After these a new connection gets the same.
_CANNOT_SERVE: Final = r"READONLY|UNBLOCKED|MASTERDOWN|TRYAGAIN|BUSY"
_REFUSAL: Final = re.compile(rf"(?:{_CANNOT_SERVE})\b")
# What servers put around the error of a script's command. From 7.0 on: "WRONGTYPE Operation … script: d425…, on
# @user_script:60.", or without the digest. Before: "ERR Error running script (call to f_…): @user_script:1:
# @user_script: 1: -READONLY …".
_SCRIPT: Final = re.compile(
    r"^(?:ERR )?Error running script \(call to f_[0-9a-f]{40}\): (?:@user_script: ?\d+: ?)*-?"
    r"| script: (?:[0-9a-f]{40}, )?on @user_script: ?\d+\.?$"
)
# redis-py cuts the first word off where it has a class for it, from 6.4 on for more of them.
_CLASSES: Final = (ReadOnlyError, MasterDownError, TryAgainError)


# As the server says it: older versions of redis-py have no classes for these where hiredis parses.
_ON_OTHER_NODE: Final = re.compile(r"(?:MOVED|ASK|CROSSSLOT)\b")
_CLUSTER_DOWN: Final = re.compile(r"CLUSTERDOWN\b")
# What CLUSTERDOWN says of a slot that no node has.
_ON_NO_NODE: Final = re.compile(r"(?:CLUSTERDOWN )?Hash slot not served")
_MOVES: Final = re.compile(r"TRYAGAIN\b")
# Slot, host ("" or "?" for that of the node that says it) and port.
_REDIRECT: Final = re.compile(r"(MOVED |ASK )?(\d+) (.*):(\d+)")
# What to do about a node of a cluster.
BY_CLUSTER: Final = (
    "Let URL of the connection begin with redis+cluster:// (or rediss+cluster://), or lead to a server that isn't in "
    "cluster mode."
)
_ONE_SLOT: Final = (
    "In a cluster all keys of a stream must have one hash slot: DEAD_LETTER_STREAM of a stream 'orders' is named as in "
    "'{orders}:letters'."
)


class Redirect(NamedTuple):
    """Where a node says that a slot is: for good, or with `ask` for the one command. A host of "" is the node's own."""

    slot: int
    host: str
    port: int
    ask: bool


class OnOtherNode(ResponseError):
    """The server is a node of a cluster, and not all keys of the command are on it.

    `said` is what it says. `redirect` is where they are; None where they are on several nodes, or on none.
    """

    def __init__(self, text: str, said: str, redirect: Redirect | None = None) -> None:
        super().__init__(text)
        self.said = said
        self.redirect = redirect


class OnNoNode(OnOtherNode):
    """No node of the cluster has the slot of the command's keys."""


class ClusterDown(ResponseError):
    """The server is a node of a cluster that is down: it may be for a moment only, as after the node's start."""

    def __init__(self, text: str, said: str) -> None:
        super().__init__(text)
        self.said = said


class PartUnreachable(ServerUnreachable, ResponseError):
    """A node of a cluster can't be reached, or doesn't serve the command now; other nodes may.

    It may stand in a reply's place: to callers that ask for many streams it is a refusal that concerns some of them.
    """


def part_of(error: ServerUnreachable) -> PartUnreachable:
    """Return an error of a node as one that may stand in a reply's place."""
    if isinstance(error, PartUnreachable):
        return error
    made = PartUnreachable(str(error))
    made.node, made.moved = error.node, error.moved
    made.was_idle, made.was_silent = error.was_idle, error.was_silent
    return made


def explained(error: ResponseError) -> ResponseError:
    """Return an error reply in words: redis-py leaves of MOVED a slot and an address.

    In which script of this package and on which of its lines the server refused a command is left out: it helps nobody.
    """
    if (text := _SCRIPT.sub("", str(error))) != str(error):
        error.args = (text,)
    is_node = f"The server is a node of a cluster, and not all keys of the command are on it ({text})."
    if _ON_NO_NODE.match(text):
        return OnNoNode(f"{is_node} {BY_CLUSTER}", text)
    # A MovedError is an AskError too.
    if isinstance(error, AskError | ClusterCrossSlotError) or _ON_OTHER_NODE.match(text):
        redirect = _redirect(error)
        return OnOtherNode(f"{is_node} {BY_CLUSTER}{'' if redirect else f' {_ONE_SLOT}'}", text, redirect)
    if isinstance(error, ClusterDownError) or _CLUSTER_DOWN.match(text):
        return ClusterDown(f"The server is a node of a cluster, which is down ({text}). {BY_CLUSTER}", text)
    return error


def _redirect(error: ResponseError) -> Redirect | None:
    found = _REDIRECT.fullmatch(str(error))
    if found is None:
        return None
    word, slot, host, port = found.groups()
    ask = word == "ASK " if word else not isinstance(error, MovedError)
    return Redirect(int(slot), "" if host == "?" else host, int(port), ask)


def moves(error: ResponseError) -> bool:
    """Return whether an error reply says that some of a command's keys are on another node by now, and others not."""
    return isinstance(error, TryAgainError) or _MOVES.match(str(error)) is not None


def cannot_serve(error: ResponseError) -> bool:
    """Return whether an error reply is reason to leave this connection for a new one."""
    return isinstance(error, _CLASSES) or _REFUSAL.match(str(error)) is not None
