"""Describes a run that failed, whatever its handler raised: the error in a line, and its traceback."""

from __future__ import annotations

import traceback
from typing import Final

from ...exceptions import Reject, Retry
from ...handlers import Handler, transactions
from ...inbox import running
from ...message import LONGEST_TYPE
from ...outcomes import Failure

__all__ = ["failure_of", "unmatched"]

# In characters.
_LONGEST_ERROR: Final = 1_000
_LONGEST_TRACEBACK: Final = 8_000
# The frames of these modules say nothing about a handler: all of this room, and what calls it in a transaction.
_OWN_MODULES: Final = (f"{__package__}.", f"{transactions.__name__}.", f"{running.__name__}.")


def failure_of(handler: Handler, error: BaseException) -> Failure:
    """Describe a run of this handler that raised this error."""
    return Failure(handler=handler.name, error=_line(error), traceback=_traceback(error))


def unmatched(group: str, type_: str) -> Failure:
    """Describe a message of a type that no handler of the group takes; the type may be of any length."""
    shown = repr(type_) if len(type_) <= LONGEST_TYPE else f"{type_[:50]!r}…, which has {len(type_):,} characters"
    return Failure(error=f"No handler of group {group!r} takes the type {shown}.")


def _line(error: BaseException) -> str:
    try:
        text = str(error.reason) if isinstance(error, Reject) else f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001  a broken __str__ is the handler's, and must not end the worker
        text = f"{type(error).__name__}: (its text can't be had)"
    return text[:_LONGEST_ERROR]


def _traceback(error: BaseException) -> str:
    """Return the traceback from the handler's own frame on; "" where the handler asked for its outcome."""
    if isinstance(error, (Reject, Retry)):
        return ""
    begin = frame = error.__traceback__
    while frame is not None:
        module = f"{frame.tb_frame.f_globals.get('__name__')}."
        begin = frame.tb_next if module.startswith(_OWN_MODULES) else begin
        frame = frame.tb_next
    try:
        lines = traceback.format_exception(type(error), error, begin)
        return "".join(lines)[-_LONGEST_TRACEBACK:]
    except BaseException:  # noqa: BLE001  as in _line
        return ""
