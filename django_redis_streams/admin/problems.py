"""The errors that the admin expects, as sentences for its pages. No sentence holds a password."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from redis.exceptions import ResponseError

from ..exceptions import ServerUnreachable, StreamsError
from ..inspection import Problem
from .text import visible

__all__ = ["EXPECTED", "error_text", "problem_texts"]

# An unreachable, loading or locked server; a command that an ACL or a key's type refuses; broken settings.
EXPECTED = (StreamsError, ResponseError)


def error_text(error: Exception) -> str:
    """Return the sentence about an error."""
    text = visible(str(error))
    # A node of a cluster that is away is both.
    refused = isinstance(error, ResponseError) and not isinstance(error, ServerUnreachable)
    return _("The server refuses: %(error)s") % {"error": text} if refused else text


def problem_texts(problems: Iterable[Problem]) -> list[str]:
    """Return a sentence for each error that kept rows from a page, with the names of the streams that it concerns.

    The error of a database, which concerns all streams, says itself which database it is.
    """
    streams: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        streams[error_text(problem.error)].append(visible(problem.stream))
    return [
        ngettext("Stream %(streams)s: %(text)s", "Streams %(streams)s: %(text)s", len(set(names)))
        % {"streams": ", ".join(dict.fromkeys(names)), "text": text}
        if any(names)
        else text
        for text, names in streams.items()
    ]
