"""What kept the admin from showing or doing something, as a sentence on its pages. Never a password in it."""

from __future__ import annotations

from django.utils.translation import gettext as _
from redis.exceptions import ResponseError

from ..exceptions import StreamsError
from .text import visible

__all__ = ["EXPECTED", "told"]

# A server that is down, loading or locked to us; a command that an ACL or a key's type refuses; broken settings.
EXPECTED = (StreamsError, ResponseError)


def told(error: Exception, stream: str = "") -> str:
    """The sentence for an error."""
    text = visible(str(error))
    if isinstance(error, ResponseError):
        text = _("The server refuses: %(error)s") % {"error": text}
    return _("Stream %(stream)s: %(text)s") % {"stream": visible(stream), "text": text} if stream else text
