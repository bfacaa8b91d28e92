"""What a tracer or meter raises stays here: no message fails, and no worker ends, because of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

__all__ = ["attempted"]

logger = logging.getLogger("django_redis_streams")

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

# The types of the errors that were logged: a broken provider would fill the log, message by message.
_logged: Final[set[type[BaseException]]] = set()


def attempted(otherwise: _Result, call: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs) -> Any:
    """Return what the call returns, or `otherwise` where it raises, which is logged once for each type of error."""
    try:
        return call(*given, **named)
    except Exception as error:  # whatever it is: the message counts, not what is told of it
        if type(error) not in _logged:
            _logged.add(type(error))
            logger.exception(
                "OpenTelemetry failed, and something isn't traced or measured. Look into the project's tracer and "
                "meter providers. Further errors of this type (%s) aren't logged.",
                type(error).__qualname__,
            )
        return otherwise
