"""Writing text that the terminal's encoding may lack."""

from __future__ import annotations

import io

from django.core.management.base import OutputWrapper

__all__ = ["write_any_text"]


def write_any_text(*outputs: OutputWrapper) -> None:
    """Have characters that an output's encoding lacks written as escapes, in place of an error."""
    for each in outputs:
        stream = getattr(each, "_out", None)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
