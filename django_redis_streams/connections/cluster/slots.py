"""The hash slot of a key, and the key that a command is about.

See https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from redis.crc import key_slot

from ..link import Command

__all__ = ["SLOTS", "slot_of", "slot_of_key"]

SLOTS: Final = 16_384

# What concerns a server, or a connection to it.
_KEYLESS: Final = frozenset(
    ("ACL", "ASKING", "CLIENT", "CLUSTER", "CONFIG", "INFO", "PING", "ROLE", "SCAN", "SCRIPT", "TIME", "WAIT")
)
# Which word is the key; of the others it is the second.
_THIRD: Final = frozenset(("MEMORY", "OBJECT", "XGROUP", "XINFO"))
_BY_NUMBER: Final = frozenset(("EVAL", "EVALSHA"))
# The word before the keys, and from which word on it may stand: a group may have its name.
_BEHIND: Final = {"XREAD": 1, "XREADGROUP": 4}


def slot_of(command: Command) -> int | None:
    """Return the slot of a command's first key; None where it has none."""
    name = str(command[0]).upper()
    if name in _KEYLESS:
        return None
    if name in _BY_NUMBER:
        return slot_of_key(command[3]) if int(command[2]) else None
    if name in _THIRD:
        return slot_of_key(command[2])
    if name in _BEHIND:
        return slot_of_key(command[list(command).index("STREAMS", _BEHIND[name]) + 1])
    return slot_of_key(command[1])


@lru_cache(4096)
def slot_of_key(key: str | float | bytes) -> int:
    """Return the slot of a key."""
    return key_slot(key if isinstance(key, bytes) else str(key).encode("utf-8", "surrogateescape"))
