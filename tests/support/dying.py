"""A forked child that relays the outbox, and is killed right before or after one of its statements or commands."""

import os
import signal
import warnings
from collections.abc import Callable
from typing import Any

from django.db import connection, connections

from django_redis_streams import connections as servers
from django_redis_streams.connections.link import OpenLink
from django_redis_streams.outbox.relay import Relay


class Death:
    """Kills the process at the `at`-th step; each statement, commit, command and reply has two."""

    def __init__(self, at: int) -> None:
        self._left = at

    def step(self) -> None:
        """Note a step."""
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)

    def statement(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        """Wrap a statement, as Django's `execute_wrapper` wants it."""
        self.step()
        result = execute(*arguments)
        self.step()
        return result

    def around(self, owner: type, name: str) -> None:
        """Wrap a method."""
        original = getattr(owner, name)

        def wrapped(*arguments: Any) -> Any:
            self.step()
            result = original(*arguments)
            self.step()
            return result

        setattr(owner, name, wrapped)


def relay_until(at: int) -> bool:
    """Relay in a child that dies at this step; return whether it died, or had fewer steps."""
    connections.close_all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, none of which holds a lock that is needed
        pid = os.fork()
    if not pid:
        try:
            _relay(Death(at))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed"
    return os.WIFSIGNALED(status)


def _relay(death: Death) -> None:
    relay = Relay("default", "default")
    death.around(type(connection._connections[connection._alias]), "_commit")  # type: ignore[attr-defined]
    death.around(OpenLink, "_send")
    death.around(OpenLink, "receive")
    with connection.execute_wrapper(death.statement):
        relay.step(servers.get())
