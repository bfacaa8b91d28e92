"""Kills a worker's process once at each step that `TEST_KILL` names; the worker imports this as a handlers' module.

`TEST_KILL` is `step=path …`: the first process that reaches the step makes the file and dies. The steps are

- `read`: a batch has been read, and no message of it was begun;
- `handled`: a handler has returned, and its outcome hasn't been sent;
- `before:SCRIPT`, `after:SCRIPT`: right before a script is sent, right after its reply has come; a promotion counts
  only if there is something to promote.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

from django_redis_streams import connections
from django_redis_streams.connections.link import OpenLink
from django_redis_streams.store.scripts import script
from django_redis_streams.worker.consumer.batch_runner import BatchRunner

from ..support.obedient_handlers import die, once

PROMOTE = script("promote").digest.encode()


def kill_at(step: str, path: str) -> None:
    """Make the first process that reaches the step die there."""
    when, _, name = step.partition(":")
    if step == "read":
        _before(BatchRunner, "handle", path, bool)
    elif step == "handled":
        asked = itertools.count()  # called right before each message: at the first call none has run
        _before(BatchRunner, "_may_run", path, lambda _: next(asked) > 0)
    else:
        _around_script(when, name.encode() and script(name).digest.encode(), path)


def _before(owner: type, name: str, path: str, concerned: Callable[[Any], bool]) -> None:
    original = getattr(owner, name)

    def patched(self: Any, argument: Any, *further: Any) -> Any:
        if concerned(argument) and once(path):
            die()
        return original(self, argument, *further)

    setattr(owner, name, patched)


def _around_script(when: str, digest: bytes, path: str) -> None:
    send, receive = OpenLink._send, OpenLink.receive

    def patched_send(self: Any, data: bytes, count: int) -> None:
        self.concerned = digest in data and (digest != PROMOTE or is_waiting())
        if self.concerned and when == "before" and once(path):
            die()
        send(self, data, count)

    def patched_receive(self: Any, count: int) -> Sequence[Any]:
        replies = receive(self, count)
        if count and self.concerned and when == "after" and once(path):
            die()
        return replies

    OpenLink._send, OpenLink.receive = patched_send, patched_receive  # type: ignore[method-assign]


def is_waiting() -> bool:
    """Return whether a retry of the group or a delayed message waits."""
    return bool(connections.get().call("EXISTS", "{orders}:retry:billing", "{orders}:delayed"))


def leave_to_the_consumer(runner: BatchRunner, link: Any) -> None:
    """Settle nothing from the heartbeat: a process that it kills with that would be in the midst of the next run."""


BatchRunner.flush = leave_to_the_consumer  # type: ignore[method-assign]
for each in os.environ["TEST_KILL"].split():
    kill_at(*each.split("=", 1))
