"""Writing text that the terminal's encoding may lack, and JSON piece by piece."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from django.core.management.base import OutputWrapper

__all__ = ["document", "write_any_text"]


def write_any_text(*outputs: OutputWrapper) -> None:
    """Have characters that an output's encoding lacks written as escapes, in place of an error."""
    for each in outputs:
        stream = getattr(each, "_out", None)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def document(
    name: str, rows: Iterable[Mapping[str, Any]], rest: Callable[[], Mapping[str, Any]] = dict
) -> Iterator[str]:
    """Yield the lines of one JSON document: an object with the rows under `name`, each in a line, and then the `rest`.

    A row is asked for when the one before is written, and the rest when all are: so memory holds one row at a time.
    """
    yield f"{{{json.dumps(name)}: ["
    comma = ""
    for row in rows:
        yield f"{comma}{json.dumps(row)}"
        comma = ", "
    others = "".join(f", {json.dumps(key)}: {json.dumps(value)}" for key, value in rest().items())
    yield f"]{others}}}"
