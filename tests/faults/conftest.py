"""Fixtures of the fault tests."""

import pytest

from django_redis_streams.worker import consumer, maintenance, promoter
from django_redis_streams.worker.patience import Patience


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker waits a twentieth of what it would wait for a message or another try, so that a test sees several."""
    monkeypatch.setattr(consumer, "BLOCK_MS", consumer.BLOCK_MS // 20)
    monkeypatch.setattr(promoter, "_SELDOM", promoter._SELDOM / 20)
    monkeypatch.setattr(maintenance, "_INTERVAL", maintenance._INTERVAL / 20)
    reset = Patience.reset

    def reset_hastily(self: Patience) -> None:
        reset(self)
        self._next /= 20

    monkeypatch.setattr(Patience, "reset", reset_hastily)
    original = Patience.__init__

    def made(self: Patience, *, least: float, most: float) -> None:
        original(self, least=least, most=most / 20)

    monkeypatch.setattr(Patience, "__init__", made)
