"""A Django app with one table: which messages have had their effect in the database, for each group.

| module | what it does |
|---|---|
| `models` | the table |
| `rows` | rows of messages: inserted, deleted again, and deleted when they are old |
| `inserting` | the INSERTs, which tell what was there before |
| `running` | runs a handler with `once`; `claim` for who does it by hand |
| `presence` | says whether the app and its table are there |

Only `models` needs the app to be installed. The others import it when they first need it.
"""

from .running import claim

__all__ = ["claim"]
