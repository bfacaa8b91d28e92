"""A process that publishes in a transaction, and kills itself at the step that its argument names.

`STEPS` are those steps. `KILLED_DATABASE` in the environment is the JSON of its default database.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from pkgutil import resolve_name
from typing import Any

from .mariadb import use_pymysql

STEPS = {
    "before the commit": "django_redis_streams.publishing.transactions._insert_rows",
    "after the commit": "django_redis_streams.publishing.committing.CommittedRows.send",
    "after it was sent": "django_redis_streams.outbox.writing.settle",
}


def main() -> None:
    """Publish a message with the step as its payload."""
    import django  # noqa: PLC0415  the table of steps is for others, who have set up Django

    django.setup()

    from django.conf import settings  # noqa: PLC0415  as above
    from django.db import connections, transaction  # noqa: PLC0415  as above
    from django.test import override_settings  # noqa: PLC0415  as above

    from django_redis_streams import publish  # noqa: PLC0415  as above

    step, database = sys.argv[1], json.loads(os.environ["KILLED_DATABASE"])
    if database["ENGINE"].endswith("mysql"):
        use_pymysql()
    connections.settings["default"].update(database)
    with suppress(AttributeError):  # made when an app was loaded, by the settings of then
        del connections["default"]
    replaced(STEPS[step], before=step != "before the commit")
    declared = {**settings.REDIS_STREAMS, "STREAMS": {"orders": {"OUTBOX": "always"}}}
    with override_settings(REDIS_STREAMS=declared), transaction.atomic():
        publish("orders", step)


def replaced(name: str, *, before: bool) -> None:
    """Have the process killed where the function of this name is called, or where it has returned."""
    owner, _, attribute = name.rpartition(".")
    function = resolve_name(name)

    def killed(*arguments: Any, **named: Any) -> None:
        if not before:
            function(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(resolve_name(owner), attribute, killed)


if __name__ == "__main__":
    main()
