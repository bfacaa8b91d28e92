"""`manage.py streams delayed`: what is to be published later is listed, published now and discarded."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from .support import states

Raw = Any
DELAYED = "{orders}:delayed"


@pytest.fixture(autouse=True)
def _empty(streams: Callable[..., None]) -> None:
    """Begin with an empty server."""


def said(*arguments: str) -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("streams", "delayed", *arguments, stdout=out)
    return out.getvalue()


def test_delayed_messages_are_listed_the_next_first(raw: Raw) -> None:
    """With what is known of them, for people and as JSON; those of a type or with words alone, where asked for."""
    later, sooner = states.delay({"n": 1}, type="order.due", seconds=120), states.delay({"n": 2})
    assert [line.split()[0] for line in said("list").splitlines()] == ["message", sooner, later]
    told = json.loads(said("list", "--stream", "orders", "--type", "order.due", "--json"))
    assert [(each["message"], each["lane"], json.loads(each["payload"])) for each in told["delayed"]] == [
        (later, "default", {"n": 1})
    ]
    assert said("list", "--search", "nowhere") == "No delayed message fits.\n"
    assert said("list", "--limit", "1").splitlines()[-1].startswith("Searched 1 of 2")


def test_a_delayed_message_is_published_now(raw: Raw) -> None:
    """That one alone; one that is gone makes the exit code 1."""
    first, second = states.delay(1), states.delay(2)
    assert said("publish", "orders", first, "--by", "ann") == "1 published.\n"
    assert raw.zrange(DELAYED, 0, -1) == [second]
    assert [fields["id"] for _, fields in raw.xrange("orders")] == [first]
    with pytest.raises(SystemExit) as caught:
        said("publish", "orders", first, second)
    assert caught.value.code == 1
    assert raw.xlen("orders") == 2


def test_a_delayed_message_is_discarded(raw: Raw) -> None:
    """It is never published."""
    assert json.loads(said("discard", "orders", token := states.delay(1), "--json"))["discarded"] == [token]
    assert not raw.exists(DELAYED, "orders")


@pytest.mark.parametrize("arguments", [["list", "--stream", "x"], ["publish", "x", "a"], ["discard", "x", "a"]])
def test_a_stream_that_is_not_declared_ends_with_2(arguments: list[str]) -> None:
    """Nothing is done."""
    with pytest.raises(CommandError, match="'x'") as caught:
        said(*arguments)
    assert caught.value.returncode == 2
