"""Which function runs for which messages of which group. Running them is the worker's business.

Handlers are declared by `@handler` in each installed app's `stream_handlers` module and in `HANDLER_MODULES`.
These are imported when somebody first asks for handlers, never at start-up.
"""

from .declaring import handler
from .matching import Handler, HandlerSet
from .registry import isolated, of, registered
from .wrapping import add_middleware, remove_middleware

__all__ = ["Handler", "HandlerSet", "add_middleware", "handler", "isolated", "of", "registered", "remove_middleware"]
