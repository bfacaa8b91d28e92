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
| E010 | a handler for a stream or group that isn't declared |
| E011 | two handlers of a group for one type |
| E012 | a group whose handlers leave types that models publish to its stream, without `UNMATCHED` |
| E013 | a handler with `atomic` of an unknown database |
| E014 | `HANDLER_MODULES` names a module that isn't there |
| E015 | a module of handlers that can't be imported |
| E020 | `MODELS` names a model that isn't there |
| E021 | a field that can't be published |
| E022 | `@publishes` for a stream that isn't declared |
| E030 | `embedded://` in production (`check --deploy`) |
| W001 | a setting whose name is nearly `REDIS_STREAMS`, which isn't there |
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
| W035 | a server that is a node of a cluster |
| W036 | a new group beside one that is no longer declared: was it renamed? (this and the following: `check --deploy`) |
| W037 | a stream on a server that isn't declared any more, and that holds something |

While there are problems of the settings (E001 to E007) only these are reported: what follows from them would
only hide them. All but the last eight checks talk to no server, and none of them to a database.
"""

from django.core.checks import register

from .databases import check_databases
from .handling import check_handlers
from .producing import check_models
from .servers import check_servers
from .settings import TAG, check_settings
from .streams import check_streams

__all__ = [
    "check_databases", "check_handlers", "check_models", "check_servers", "check_settings",
    "check_streams",
]  # fmt: skip

for check in (check_settings, check_handlers, check_models):
    register(check, TAG)
for check in (check_databases, check_streams, check_servers):
    register(check, TAG, deploy=True)
