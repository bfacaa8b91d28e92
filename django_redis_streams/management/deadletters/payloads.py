"""Payloads that a person gives: as an argument, on standard input, or in an editor."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ...inspection import DeadLetter
from ..strict_json import value_of

__all__ = ["edited", "given"]


def given(text: str) -> Any:
    """Return the value of a JSON text; "-" reads the text from standard input.

    Raises `CommandError` for a text that isn't JSON.
    """
    return _value(sys.stdin.read() if text == "-" else text)


def edited(row: DeadLetter) -> Any:
    """Return the payload as the user left it in $VISUAL or $EDITOR.

    Raises `CommandError` if it wasn't changed or isn't JSON, or if the editor failed: then nothing was done.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    # A directory that only the owner may read.
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "payload.json")
        path.write_text(row.payload, encoding="utf-8", errors="surrogateescape")
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)  # noqa: S603  the user's own editor
        except (OSError, subprocess.CalledProcessError) as error:
            raise CommandError(f"The editor {editor!r} failed, nothing was done: {error}. Set EDITOR.") from error
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    if text == row.payload:
        raise CommandError("The payload wasn't changed, so nothing was done. Leave --edit out to replay it as it is.")
    return _value(text)


def _value(text: str) -> Any:
    try:
        return value_of(text)
    except ValueError as error:
        raise CommandError(f"The payload isn't JSON, so nothing was done: {error}", returncode=2) from error
