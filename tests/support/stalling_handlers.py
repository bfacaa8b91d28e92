"""A name server that stalls: as long as the path of `TEST_STALLS` exists, no name of a host is resolved.

What waits for it is judged after some seconds, not after half a minute.
"""

import os
import socket
import time
from pathlib import Path

from django_redis_streams.worker.http import health
from django_redis_streams.worker.log import unreachable
from django_redis_streams.worker.supervisor import overdue

_stalls = Path(os.environ["TEST_STALLS"])
_resolved = socket.getaddrinfo


def _resolve(*arguments, **options):
    while _stalls.exists():
        time.sleep(0.01)
    return _resolved(*arguments, **options)


socket.getaddrinfo = _resolve
health._LONGEST_TURN = overdue._OWN_WORK = 5.0
unreachable._SLOW = health._LONGEST_OPENING = 1.0
