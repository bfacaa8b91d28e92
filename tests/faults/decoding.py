"""Faults before and after a handler's call, for a worker to import.

An entry's field `decode` says what its decoding does; a message with a field `after` blocks a receiver of its signal.
"""

import os
import time
from collections.abc import Sequence
from typing import Any

from django.dispatch import receiver

from django_redis_streams.message import Message
from django_redis_streams.signals import message_processed
from django_redis_streams.store.consume.delivery import Delivery
from django_redis_streams.wire import decode_entry
from django_redis_streams.worker.execution import executor
from django_redis_streams.worker.supervisor import overdue, rescuer

from ..support.obedient_handlers import die, once

_decode_all = executor.decode_all
overdue._OWN_WORK = 1.0


def _decode_and_more(deliveries: Sequence[Delivery]) -> list[Any]:
    """Decode deliveries, and do what their fields say."""
    for each in deliveries:
        _obey(each)
    return _decode_all(deliveries)


def _decode_one_and_more(delivery: Delivery) -> Message:
    """Decode one delivery likewise, for the rescuer of a dead process."""
    _obey(delivery)
    return decode_entry(delivery)


def _obey(delivery: Delivery) -> None:
    match delivery.fields:
        case [*_, "decode", "hang"]:
            time.sleep(600)
        case [*_, "decode", "die"]:
            die()


executor.decode_all = _decode_and_more
rescuer.decode_entry = _decode_one_and_more


@receiver(message_processed)
def _hear(message: Message, **_: Any) -> None:
    """Never return, at the first call."""
    if isinstance(message.payload, dict) and "after" in message.payload and once(f"{os.environ['TEST_RUNS']}.heard"):
        time.sleep(600)
