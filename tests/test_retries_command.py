"""`manage.py streams retries`: what waits for its next run is listed and discarded."""

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from .support import states

Raw = Any
RETRY = "{orders}:retry:billing"


@pytest.fixture(autouse=True)
def _empty(streams: Callable[..., None]) -> None:
    """Begin with an empty server."""


def said(*arguments: str) -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("streams", "retries", *arguments, stdout=out)
    return out.getvalue()


def waiting(raw: Raw, count: int = 1) -> list[str]:
    """The tokens of new retries of billing, the next first."""
    for number in range(count):
        states.publish(raw, {"n": str(number)})
        states.retry(delay=60 + number)
    return [str(token) for token in raw.zrange(RETRY, 0, -1)]


def test_waiting_retries_are_listed_the_next_first(raw: Raw) -> None:
    """With what is known of them, for people and as JSON."""
    tokens = waiting(raw, 2)
    lines = said("list").splitlines()
    assert [line.split()[0] for line in lines] == ["token", *tokens]
    told = json.loads(said("list", "--group", "billing", "--json"))
    assert [each["token"] for each in told["retries"]] == tokens
    assert told["retries"][0]["error"] == states.FAILURE.error
    assert said("list", "--group", "loyalty") == said("list", "--search", "nowhere") == "No waiting retry fits.\n"
    assert said("list", "--limit", "1").splitlines()[-1].startswith("Searched 1 of 2")


def test_a_waiting_retry_is_discarded(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """That one alone, and who did it is logged."""
    first, second = waiting(raw, 2)
    with caplog.at_level(logging.INFO, "django_redis_streams"):
        assert said("discard", "orders", "billing", first, "--by", "ann") == "1 discarded.\n"
    assert raw.zrange(RETRY, 0, -1) == [second]
    assert f"Retry {first} of orders:billing was discarded by 'ann'." in caplog.text


def test_one_that_is_gone_ends_with_1(raw: Raw) -> None:
    """The others are discarded nevertheless."""
    (token,) = waiting(raw)
    with pytest.raises(SystemExit) as caught:
        said("discard", "orders", "billing", "gone", token)
    assert caught.value.code == 1
    assert not raw.exists(RETRY)


@pytest.mark.parametrize("arguments", [["list", "--stream", "x"], ["discard", "x", "billing", "a"]])
def test_a_stream_that_is_not_declared_ends_with_2(arguments: list[str]) -> None:
    """Nothing is done."""
    with pytest.raises(CommandError, match="'x'") as caught:
        said(*arguments)
    assert caught.value.returncode == 2
