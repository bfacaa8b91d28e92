"""Settings of a worker on a system without what only Linux has, of what macOS and the BSDs lack."""

import os
import select
import signal
import socket
import sys
import zoneinfo

for _module, _names in {
    os: "pipe2 memfd_create pidfd_open eventfd splice setns unshare copy_file_range posix_fadvise posix_fallocate "
    "sched_getaffinity sched_setaffinity getrandom getresuid fdatasync O_DIRECT O_PATH O_TMPFILE",
    select: "epoll",
    signal: "sigtimedwait sigwaitinfo SIGRTMIN SIGPWR pidfd_send_signal",
    socket: "SOCK_CLOEXEC SOCK_NONBLOCK AF_NETLINK SO_PEERCRED",
}.items():
    for _name in _names.split():
        if hasattr(_module, _name):
            delattr(_module, _name)
zoneinfo.reset_tzpath()  # asks what Python was built for
sys.platform = "darwin"

from .worker_settings import *  # noqa: E402, F403  the same worker
