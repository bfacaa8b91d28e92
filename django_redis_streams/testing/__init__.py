"""Tools for testing a project's publishing and its handlers, with pytest or Django's TestCase.

`isolation` gives each test a server and a key prefix, `published` returns what was published, `draining`
runs the handlers in the calling thread, after `unsent` has sent what waits in the outbox, `case` is the mixin for
Django's TestCase. pytest's plugin is `django_redis_streams.pytest_plugin`.
"""

from .case import StreamsMixin
from .draining import Drained, drain
from .isolation import isolated
from .messages import make_message
from .published import assert_published, published

__all__ = [
    "Drained",
    "StreamsMixin",
    "assert_published",
    "drain",
    "isolated",
    "make_message",
    "published",
]
