"""An ordinary client of a whole cluster, for assertions: each command goes to the node that has its key."""

from collections.abc import Callable, Sequence
from typing import Any

import redis

from django_redis_streams.connections.cluster.slots import slot_of

# What is done on each node: settings, rights, and what looks at all keys.
EVERYWHERE = ("FLUSHALL", "FLUSHDB", "CONFIG SET", "CONFIG RESETSTAT", "ACL", "SCRIPT FLUSH", "KEYS", "DBSIZE")
# What may name keys of several slots here, though no cluster takes that in one command.
ONE_BY_ONE = ("DEL", "UNLINK")
# What concerns the one node that stands for all, beside what the package knows.
KEYLESS = ("BGREWRITEAOF", "BGSAVE", "COMMAND", "DEBUG", "HELLO", "LASTSAVE", "LATENCY", "SAVE", "SHUTDOWN", "SLOWLOG")


class ClusterClient(redis.Redis):
    """What names no key goes to the node of this client. Pipelines do, too: their keys must be there."""

    def __init__(
        self,
        own: redis.Redis,
        node_of_slot: Callable[[int], redis.Redis],
        nodes: Callable[[], Sequence[redis.Redis]],
    ) -> None:
        super().__init__(connection_pool=own.connection_pool)
        self._node_of_slot, self._nodes = node_of_slot, nodes

    def execute_command(self, *words: Any, **options: Any) -> Any:
        """Send a command to where it belongs."""
        # Of some words redis-py makes bytes.
        parts = [
            *str(words[0]).split(),
            *(str(each, "utf-8", "surrogateescape") if isinstance(each, bytes) else each for each in words[1:]),
        ]
        name = str(parts[0]).upper()
        said = f"{name} {str(parts[1]).upper()}" if len(parts) > 1 else name
        if name in EVERYWHERE or said in EVERYWHERE:
            replies = [each.execute_command(*words, **options) for each in self._nodes()]
            if name == "KEYS":
                return [key for each in replies for key in each]
            return sum(replies) if name == "DBSIZE" else replies[0]
        if name in ONE_BY_ONE and len(parts) > 2:
            return sum(self.execute_command(name, key) for key in parts[1:])
        slot = None if name in KEYLESS else slot_of(parts)
        if slot is None:
            return super().execute_command(*words, **options)
        return self._node_of_slot(slot).execute_command(*words, **options)
