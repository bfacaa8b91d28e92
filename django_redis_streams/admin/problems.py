"""What kept the admin from showing or doing something, as a sentence on its pages. Never a password in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from redis.exceptions import ResponseError

from ..exceptions import StreamsError
from ..inspection import Problem
from .text import visible

__all__ = ["EXPECTED", "error_text", "problem_texts"]

# A server that is down, loading or locked to us; a command that an ACL or a key's type refuses; broken settings.
EXPECTED = (StreamsError, ResponseError)


def error_text(error: Exception) -> str:
    """Return the sentence that tells of an error."""
    text = visible(str(error))
    return _("The server refuses: %(error)s") % {"error": text} if isinstance(error, ResponseError) else text


def problem_texts(problems: Iterable[Problem]) -> list[str]:
    """Return a sentence for each error that kept a page from showing something, with the streams that it is about."""
    streams: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        streams[error_text(problem.error)].append(visible(problem.stream))
    return [
        ngettext("Stream %(streams)s: %(text)s", "Streams %(streams)s: %(text)s", len(set(names)))
        % {"streams": ", ".join(dict.fromkeys(names)), "text": text}
        for text, names in streams.items()
    ]
