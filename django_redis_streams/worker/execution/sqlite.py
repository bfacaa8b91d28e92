"""What a worker needs of SQLite, whose writers take turns.

With Django's defaults a transaction that reads before it writes is refused at once while another writes, whatever its
`timeout` (https://docs.djangoproject.com/en/stable/ref/databases/#sqlite-transaction-behavior).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.conf import settings
from django.db import connections

from ... import handlers
from ...exceptions import ConfigurationError

__all__ = ["IDENTITY", "hasty_databases"]

# The id of the system check for this. The command warns of it, too, unless the check is silenced.
IDENTITY: Final = "django_redis_streams.W012"

_ENGINES: Final = {"sqlite3", "spatialite"}
_LEAST_TIMEOUT: Final = 10
_MEND: Final = (
    'Set its OPTIONS to {"transaction_mode": "IMMEDIATE", "timeout": 20, '
    '"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"}.'
)


def hasty_databases() -> Iterator[tuple[str, str]]:
    """Yield what is wrong, and what to do, for each SQLite database whose writers won't wait for each other.

    Yields nothing if the project has no handler, or has silenced the check.
    """
    if IDENTITY in settings.SILENCED_SYSTEM_CHECKS or not _has_handlers():
        return
    for alias, found in connections.settings.items():
        if found["ENGINE"].rpartition(".")[2] not in _ENGINES or _in_memory(str(found["NAME"])):
            continue
        if missing := " and ".join(_missing(found["OPTIONS"])):
            yield f'The SQLite database {alias!r} has {missing}: workers will meet "database is locked".', _MEND


def _has_handlers() -> bool:
    try:
        return bool(handlers.registered())
    except ConfigurationError:  # E014 tells of it
        return False


def _in_memory(name: str) -> bool:
    return name == ":memory:" or "mode=memory" in name


def _missing(options: Mapping[str, Any]) -> Iterator[str]:
    if str(options.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield "no 'transaction_mode' of IMMEDIATE"
    timeout = options.get("timeout", 0)
    if not isinstance(timeout, int | float) or timeout < _LEAST_TIMEOUT:
        yield f"no 'timeout' of {_LEAST_TIMEOUT} seconds or more"
    if not re.search(r"journal_mode\s*=\s*wal", str(options.get("init_command")), re.IGNORECASE):
        yield "no 'journal_mode=WAL' in its 'init_command'"
