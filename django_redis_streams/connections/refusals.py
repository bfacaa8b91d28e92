"""Error replies about the server rather than the command: that it can't serve now, or not all keys."""

from __future__ import annotations

import re
from typing import Final

from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

__all__ = ["ONE_SERVER", "ClusterDown", "OnOtherNode", "cannot_serve", "explained"]

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
# What to do about a node of a cluster.
ONE_SERVER: Final = (
    "This version works with a single server: let URL of the connection lead to one that isn't in cluster mode."
)


class OnOtherNode(ResponseError):
    """The server is a node of a cluster, and not all keys of the command are on it: that stays so."""


class ClusterDown(ResponseError):
    """The server is a node of a cluster that is down: it may be for a moment only, as after the node's start."""


def explained(error: ResponseError) -> ResponseError:
    """Return an error reply in words: redis-py leaves of MOVED a slot and an address.

    In which script of this package and on which of its lines the server refused a command is left out: it helps nobody.
    """
    if (text := _SCRIPT.sub("", str(error))) != str(error):
        error.args = (text,)
    # A MovedError is an AskError too.
    if isinstance(error, AskError | ClusterCrossSlotError) or _ON_OTHER_NODE.match(text) or _ON_NO_NODE.match(text):
        return OnOtherNode(
            f"The server is a node of a cluster, and not all keys of the command are on it ({text}). {ONE_SERVER}"
        )
    if isinstance(error, ClusterDownError) or _CLUSTER_DOWN.match(text):
        return ClusterDown(f"The server is a node of a cluster, which is down ({text}). {ONE_SERVER}")
    return error


def cannot_serve(error: ResponseError) -> bool:
    """Return whether an error reply is reason to leave this connection for a new one."""
    return isinstance(error, _CLASSES) or _REFUSAL.match(str(error)) is not None
