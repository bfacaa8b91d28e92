"""`manage.py streams health`: whether a worker on this host is alive, or ready. It asks the worker, not the server."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from ..arguments import port
from ..subcommands import Result, Subcommand

__all__ = ["HEALTH"]

_TIMEOUT: Final = 5.0


def _add_arguments(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--port", type=port, required=True, help="The worker's --health-port or --metrics-port.")
    add("--address", default="127.0.0.1", help="Where it listens (default: 127.0.0.1).")
    add("--ready", action="store_true", help="Ask whether it is ready, too: all processes run and are connected.")


def _run(options: Mapping[str, Any]) -> Result:
    answer = _asked(options["address"], options["port"], "/readyz" if options["ready"] else "/healthz")
    well = "The worker is ready." if options["ready"] else "The worker is alive."
    return Result(as_json=answer, lines=answer["problems"] or [well], code=0 if answer["ok"] else 1)


def _asked(address: str, port: int, path: str) -> Mapping[str, Any]:
    client = http.client.HTTPConnection(address, port, timeout=_TIMEOUT)
    try:
        client.request("GET", path)
        answer = json.loads(client.getresponse().read())
    except (OSError, http.client.HTTPException) as error:
        raise CommandError(
            f"No worker answers at {address}, port {port}: {error}. Start one with `runconsumers --health-port {port}`."
        ) from error
    except ValueError:
        answer = None
    finally:
        client.close()
    if not (isinstance(answer, dict) and {"ok", "problems"} <= answer.keys()):
        raise CommandError(
            f"What answers at {address}, port {port}, isn't a worker. Give the --port of its --health-port."
        )
    return answer


HEALTH: Final = Subcommand(
    name="health",
    help="Tells whether a worker on this host is alive: exit code 0, or 1.",
    add_arguments=_add_arguments,
    run=_run,
)
