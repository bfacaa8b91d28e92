"""A publisher: a process that publishes in all ways until it is told to stop, and writes down what it knows of each."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections, transaction

from django_redis_streams import publish, publish_many
from django_redis_streams.exceptions import ServerRefused, StreamsError
from django_redis_streams.publishing import committing
from django_redis_streams.signals import publish_failed

from .ledgers import Fate, Ledger, State
from .models import Sale

# Rows of the outbox belong to their publisher for so many seconds: less than usual, so that a trial needn't wait.
committing.LEASE = 3.0

FATES = {Fate.RETURN: 82, Fate.FAIL_ONCE: 12, Fate.REJECT: 6}
# How many take long, and for how many seconds at most: long enough for a fault to find them running.
SHARE_SLOW, SLOW = 0.15, 0.2
HOW = {"commit": 50, "now": 25, "many": 10, "delayed": 10, "rollback": 5}
# Seconds between two messages, at most; and of a delay.
PAUSE = 0.03
DELAY = 0.3
# Characters of a large message, and how many are large.
LARGE, SHARE_LARGE = 50_000, 0.03


class RolledBack(Exception):
    """A transaction is rolled back on purpose."""


class Publisher:
    """One publisher. What it draws comes from the seed."""

    def __init__(self, name: str, seed: str, directory: Path) -> None:
        self._name = name
        self._random = random.Random(seed)
        self._ledger = Ledger(directory / "publications")
        self._count = 0
        self._stopped = False
        signal.signal(signal.SIGTERM, self._stop)
        publish_failed.connect(self._failed)

    def run(self) -> None:
        """Publish until SIGTERM."""
        while not self._stopped:
            stream = self._random.choice(("bare", "kept"))
            (how,) = self._random.choices(list(HOW), list(HOW.values()))
            numbers = [self._begin(stream, how) for _ in range(5 if how == "many" else 1)]
            getattr(self, f"_{how}")(stream, numbers)
            time.sleep(self._random.uniform(0, PAUSE))

    def _begin(self, stream: str, how: str) -> dict[str, Any]:
        self._count += 1
        (fate,) = self._random.choices(list(FATES), list(FATES.values()))
        number = f"{self._name}-{self._count}"
        self._ledger.note("begun", number, stream, how, fate)
        return {"number": number, "fate": fate, "seconds": self._seconds(), "body": "x" * self._length()}

    def _seconds(self) -> float:
        return round(self._random.uniform(0, SLOW), 3) if self._random.random() < SHARE_SLOW else 0

    def _length(self) -> int:
        return LARGE if self._random.random() < SHARE_LARGE else 0

    def _now(self, stream: str, payloads: list[dict[str, Any]]) -> None:
        self._outside(payloads, lambda: publish(stream, payloads[0]))

    def _delayed(self, stream: str, payloads: list[dict[str, Any]]) -> None:
        self._outside(payloads, lambda: publish(stream, payloads[0], delay=DELAY))

    def _outside(self, payloads: list[dict[str, Any]], call: Callable[[], Any]) -> None:
        try:
            call()
        except (StreamsError, DatabaseError) as error:
            self._end(State.FAILED if isinstance(error, ServerRefused) else State.UNSURE, payloads, error)
        else:
            self._end(State.ACKNOWLEDGED, payloads)

    def _commit(self, stream: str, payloads: list[dict[str, Any]]) -> None:
        self._inside(payloads, lambda: publish(stream, payloads[0]))

    def _many(self, stream: str, payloads: list[dict[str, Any]]) -> None:
        self._inside(payloads, lambda: publish_many(stream, payloads))

    def _rollback(self, stream: str, payloads: list[dict[str, Any]]) -> None:
        def call() -> None:
            publish(stream, payloads[0])
            raise RolledBack

        self._inside(payloads, call)

    def _inside(self, payloads: list[dict[str, Any]], call: Callable[[], Any]) -> None:
        """Publish in a transaction. Where an error comes before its COMMIT, nothing may be published."""
        committing = False
        try:
            with transaction.atomic():
                Sale.objects.bulk_create(Sale(number=each["number"]) for each in payloads)
                call()
                committing = True
        except (StreamsError, DatabaseError, RolledBack) as error:
            self._end(State.UNSURE if committing else State.FAILED, payloads, error)
            if not isinstance(error, RolledBack):
                connections.close_all()
        else:
            self._end(State.ACKNOWLEDGED, payloads)

    def _end(self, state: State, payloads: list[dict[str, Any]], error: BaseException | None = None) -> None:
        for each in payloads:
            self._ledger.note(state, each["number"], "" if error is None else f"{type(error).__name__}: {error}")

    def _failed(self, message: Any, error: BaseException, **_: Any) -> None:
        self._end(State.FAILED if isinstance(error, ServerRefused) else State.UNSURE, [message.payload], error)

    def _stop(self, *_: Any) -> None:
        self._stopped = True


def main(name: str) -> None:
    """Publish in this process."""
    Publisher(name, os.environ["CHAOS_SEED"] + name, Path(os.environ["CHAOS_DIRECTORY"])).run()
