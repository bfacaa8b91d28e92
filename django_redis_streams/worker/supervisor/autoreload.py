"""`--reload`: notice changed code, see whether it can be loaded, and only then have the worker begin anew with it.

Nothing here stops a process: the supervisor drains its own as at any stop, and the command starts itself again. If the
changed code can't be loaded, the worker goes on as it was.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from django.utils import autoreload

from ..log.lines import logger
from ..system.forking import forked

__all__ = ["Autoreload", "begin_anew"]

# The exit code of a watcher that has seen a change, the same as of Django's own.
_CHANGED = 3


class Autoreload:
    """A child that watches and, after a change, a child that tries to load the code. The supervisor reports their ends.

    `ready` says that there is changed code and that it can be loaded.
    """

    def __init__(self) -> None:
        self._watcher: int | None = None
        self._trial: int | None = None
        self._tried = time.time()
        self.ready = False

    def look(self) -> None:
        """Start a watcher, unless there is one, or changed code is being tried or is to be loaded."""
        if not (self._watcher or self._trial or self.ready):
            supervisor, since = os.getpid(), self._tried
            self._watcher = forked(lambda: _watch(supervisor, since), deaf=True)

    def ended(self, pid: int, code: int) -> bool:
        """Note how a child of the supervisor has ended, and return whether it was one of these."""
        if pid == self._trial:
            self._trial = None
            self.ready = code == 0
            if not self.ready:
                logger.error("The changed code can't be loaded. The worker goes on with the code that it has.")
        elif pid == self._watcher:
            self._watcher = None
            if code == _CHANGED:
                self._tried = time.time()
                self._trial = forked(_try, deaf=True)
        else:
            return False
        return True

    def end(self) -> None:
        """End its children."""
        for pid in (self._watcher, self._trial):
            if pid is not None:
                os.kill(pid, signal.SIGKILL)


def begin_anew() -> None:
    """Start this command again, in this process; if that fails, raise the error."""
    arguments = autoreload.get_child_arguments()
    os.execv(arguments[0], arguments)  # noqa: S606  the command that the user gave


def _watch(supervisor: int, since: float) -> int:
    """Wait for a change of any module that is loaded here, or find one after `since`; return the exit code.

    Django's reloader would go on for ever: this ends with its supervisor.
    """
    reloader = autoreload.get_reloader()
    autoreload.autoreload_started.send(sender=reloader)  # receivers name more files to watch
    try:
        for tick, _ in enumerate(reloader.tick()):
            # The reloader notices what changes after its first look. What changed before that is looked for now, so no
            # change falls between the two.
            if not tick and any(_changed_after(since, path) for path in reloader.watched_files()):
                return _CHANGED
            if os.getppid() != supervisor:
                break
    except SystemExit as change:
        return int(change.code or 0)
    return 0


def _changed_after(moment: float, path: Path) -> bool:
    try:
        return path.stat().st_mtime > moment
    except OSError:
        return False


def _try() -> int:
    """Load the project in an interpreter of its own, and have its settings and handlers checked."""
    arguments = autoreload.get_child_arguments()
    own = len(arguments) - len(sys.argv[1:])
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # errors go to standard error
    os.execv(arguments[0], [*arguments[:own], "check"])  # noqa: S606  as above
