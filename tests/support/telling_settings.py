"""Settings of a worker whose processes note in the file `TEST_PROCESSES` when they begin and end."""

import os

from django_redis_streams import signals

from .worker_settings import *  # noqa: F403  the same worker


def _note(what: str) -> None:
    with open(os.environ["TEST_PROCESSES"], "a") as file:  # noqa: PTH123  as plain as can be
        file.write(f"{what} {os.getpid()}\n")


def _fail(**_: object) -> None:
    raise ValueError("a receiver that fails")


def _started(**_: object) -> None:
    _note("started")


def _ending(**_: object) -> None:
    _note("ending")


for _signal, _receivers in (
    (signals.worker_process_started, (_fail, _started)),
    (signals.worker_process_ending, (_fail, _ending)),
):
    for _receiver in _receivers:
        _signal.connect(_receiver)
