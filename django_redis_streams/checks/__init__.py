"""What is wrong with a project's streams, as Django's system checks (tag `django_redis_streams`).

| id | what is wrong |
|---|---|
| E001 | an unknown key in `REDIS_STREAMS` |
| E002 | a value of a wrong type or out of its range |
| E003 | a connection without `URL` |
| E004 | a stream on an unknown connection |
| E005 | a name or prefix with a character that would move its keys to another hash slot, or be taken for a separator |
| E006 | two streams or dead letter queues in one key |
| E007 | a `URL` or `OPTIONS` that can't work, or an extra that is missing for it |
| E008 | a `REPLICA_TIMEOUT` that isn't shorter than the time for any reply |
| E009 | a stream on a cluster whose dead letters are in another hash slot |
| E010 | a handler for a stream or group that isn't declared |
| E011 | two handlers of a group for one type |
| E012 | a group whose handlers leave types that models publish to its stream, without `UNMATCHED` |
| E013 | a handler with `atomic` of an unknown database |
| E014 | `HANDLER_MODULES` names a module that isn't there |
| E015 | a module of handlers that can't be imported |
| E016 | a stream with `OUTBOX`, whose app isn't installed |
| E017 | a database without the outbox's table (`check --deploy --database ALIAS`) |
| E018 | a handler with `once`, and the inbox's app or table isn't there (the table: `check --deploy --database`) |
| E019 | a group that forgets which messages its handlers with `once` have handled, while they may come again |
| E020 | `MODELS` names a model that isn't there |
| E021 | a field that can't be published |
| E022 | `@publishes` for a stream that isn't declared |
| E030 | `embedded://` in production (`check --deploy`) |
| W001 | a setting whose name is nearly `REDIS_STREAMS`, which isn't there |
| W002 | a connection whose time-outs outlast the lease of rows, for a stream with the OUTBOX "always" |
| W010 | a group without handlers |
| W011 | a handler for a model's event that the model doesn't publish |
| W012 | a database of SQLite whose writers don't wait for each other (`check --deploy`) |
| W013 | a stream that is never trimmed (`check --deploy`) |
| W020 | a model's event that is published twice to one stream |
| W021 | a stream whose `HARD_MAXLEN` drops what groups still need |
| W022 | a model that publishes its deletions, and whose rows the database deletes too (`DB_CASCADE`) |
| W030 | a server that can't be reached (this and the following: `check --deploy`) |
| W031 | a server that wasn't asked, or doesn't tell, what the following are about |
| W032 | a server older than 6.2 |
| W033 | a server that may evict streams |
| W034 | a server without an append-only file |
| W035 | a server that is a node of a cluster, to which a plain URL leads |
| W036 | a new group beside one that is no longer declared: was it renamed? (this and the following: `check --deploy`) |
| W037 | a stream on a server that isn't declared any more, and that holds something |
| W038 | a server with fewer replicas than MIN_REPLICAS of a stream on it |
| W039 | a server that goes on without the replicas that MIN_REPLICAS of a stream on it waits for |
| W040 | a replica that doesn't follow |
| W041 | a cluster that is down |
| W042 | a cluster some of whose slots no node serves |
| W043 | a cluster's master without a replica |

While there are problems of the settings (E001 to E009) only these are reported: what follows from them would
only hide them. All but E030 and those from W030 on talk to no server, and only E017 and E018 to a database, to those
they are asked for.
"""

from typing import Any

from django.core.checks import CheckMessage, Tags, register

from .databases import check_databases
from .handling import check_handlers
from .inbox import check_inbox, check_inbox_tables
from .outbox import check_outbox, check_outbox_tables
from .producing import check_models
from .settings import TAG, check_settings
from .streams import check_streams

__all__ = [
    "check_databases",
    "check_handlers",
    "check_inbox",
    "check_inbox_tables",
    "check_models",
    "check_outbox",
    "check_outbox_tables",
    "check_servers",
    "check_settings",
    "check_streams",
]  # fmt: skip


def check_servers(**options: Any) -> list[CheckMessage]:
    """E030, W030 to W043. Asks all servers at once, with a time limit."""
    from . import servers  # noqa: PLC0415  `check --deploy` alone needs the doctor in its memory

    return servers.check_servers(**options)


for check in (check_settings, check_handlers, check_inbox, check_models, check_outbox):
    register(check, TAG)
for check in (check_databases, check_streams, check_servers):
    register(check, TAG, deploy=True)
# Not by `migrate`, which checks before it makes the tables.
for check in (check_outbox_tables, check_inbox_tables):
    register(check, TAG, Tags.database, deploy=True)
