"""What a project opened before its worker forks, say when a module was imported: processes must not share it.

Two processes on one connection read each other's replies, and a forked process has none of its parent's threads. What
Django and redis-py know of is closed: a process that needs it opens its own. What can't be closed here is logged.
"""

from __future__ import annotations

import fcntl
import gc
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import redis
from django.core.cache import caches

from ... import connections
from ..execution.databases import close_pools
from ..log.lines import logger

__all__ = ["close_what_is_open", "warn_of_what_stays_open"]

# Prefixes of the names of threads whose makers start them anew after a fork: the SDKs of OpenTelemetry and Sentry, and
# the debugger of most editors.
_NOTICE_FORKS: Final = ("Otel", "sentry", "pydevd")
_STDIO: Final = (0, 1, 2)
_STREAMS: Final = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)


def close_what_is_open() -> None:
    """Close connections to databases, their pools, caches, and idle connections to Redis, ours and others'."""
    close_pools()
    caches.close_all()
    connections.close_kept()
    # Not by isinstance: that wakes lazy objects.
    for pool in [each for each in gc.get_objects() if issubclass(type(each), redis.ConnectionPool)]:
        # They would notice the fork by themselves, but keep the parent's connections open in each child.
        with suppress(Exception):
            pool.disconnect(inuse_connections=False)


def warn_of_what_stays_open() -> None:
    """Warn of threads and connections that are left: no process of the worker can use them."""
    threads, peers = list(_threads()), sorted(_peers())
    if threads or peers:
        logger.warning(
            "The project has opened%s%s before the worker forks its processes. A forked process has no such threads, "
            "and processes on one connection read each other's replies. Open them in handlers when they are first "
            "needed, not when a module is imported; or open them again with os.register_at_fork(after_in_child=…).",
            f" threads ({', '.join(map(repr, threads))})" if threads else "",
            f"{' and' if threads else ''} connections (to {', '.join(peers)})" if peers else "",
        )


def _threads() -> Iterator[str]:
    """Yield the names of the threads that run beside this one."""
    for each in threading.enumerate():
        if each is not threading.current_thread() and not each.name.startswith(_NOTICE_FORKS):
            yield each.name


def _peers() -> set[str]:
    """Return the peers of the connected sockets that this process opened itself.

    A socket that it was given, say by a service manager, stays open when a program is started; its own don't.
    """
    return {peer for number in _descriptors() if number not in _STDIO and (peer := _peer(number))}


def _descriptors() -> list[int]:
    """Return the file descriptors that are open, as Linux and the BSDs show them."""
    for directory in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(each) for each in os.listdir(directory)]  # noqa: PTH208  names are all that is wanted
    return []


def _peer(number: int) -> str:
    """Return the peer of a stream that was opened here; "" for all else."""
    try:
        opened_here = fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        if not opened_here or not stat.S_ISSOCK(os.fstat(number).st_mode):
            return ""
        with socket.socket(fileno=os.dup(number)) as found:
            # A datagram is whole, whoever sends it.
            return _readable(found.getpeername()) if found.type in _STREAMS else ""
    except OSError:  # closed meanwhile, or not connected
        return ""


def _readable(address: object) -> str:
    """Return an address as people read it; "" for a pair of sockets within this process."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    name = os.fsdecode(address) if isinstance(address, bytes) else str(address)
    return name.replace("\0", "@")  # as ss shows a name that is no path
