"""A process of a worker takes its leave of a server with a delay: who doesn't wait for that is found out."""

import time

from django_redis_streams.worker.services.presence import Presence

_end = Presence.end


def _end_late(service: Presence) -> None:
    time.sleep(0.3)
    _end(service)


Presence.end = _end_late
