"""Ages and waits go by the server's clock, whatever the clock of the host shows on which somebody looks."""

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import reverse

from django_redis_streams.operations import groups

from .support import states
from .support.servers import Server
from .support.waiting import wait_until
from .support.workers import Worker, working

pytestmark = pytest.mark.usefixtures("isolated_handlers")


@pytest.fixture(params=[600, -600], ids=["ahead", "behind"], autouse=True)
def own(make_server: Callable[..., Server], streams: Callable[..., None], request: Any) -> Server:
    """The server of the default connection. Between its clock and this host's are ten minutes."""
    server = make_server(own_clock=True)
    server.set_clock(request.param)
    streams({"orders": {"GROUPS": {"billing": {}}}}, URL=server.url)
    return server


def said(*words: str) -> str:
    """What a command says."""
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def listed(*options: str) -> str:
    """The ages of dead letters, or that there are none."""
    lines = said("deadletters", "list", *options).splitlines()
    return re.split(r"\s{2,}", lines[1])[6] if lines[0].startswith("id ") else lines[0]


def test_the_age_of_a_dead_letter(own: Server) -> None:
    """It was dead-lettered just now, and is selected as such."""
    states.publish(own.raw(), {"n": "1"})
    states.bury()
    assert re.fullmatch(r"\d+s", listed())
    assert re.fullmatch(r"\d+s", listed("--newer-than", "5m"))
    assert listed("--older-than", "5m") == "No dead letter fits."
    (letter,) = json.loads(said("deadletters", "list", "--json"))["dead_letters"]
    assert re.fullmatch(r"\d+s", listed(letter["id"], "--newer-than", "5m"))


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker that has said that it is there."""
    with working() as running:
        wait_until(lambda: json.loads(said("streams", "workers", "--json"))["workers"])
        yield running


@pytest.mark.usefixtures("worker")
def test_for_how_long_a_worker_runs() -> None:
    """It was started just now."""
    (process,) = json.loads(said("streams", "workers", "--json"))["workers"]
    assert 0 <= process["age"] < 60
    assert re.fullmatch(r"\d+s", said("streams", "workers").splitlines()[1].split()[2])


def test_ages_and_waits_in_the_admin(own: Server, admin_client: Any) -> None:
    """Those of dead letters, retries, delayed messages and pauses."""

    def shown(model: str) -> str:
        page = admin_client.get(reverse(f"admin:django_redis_streams_{model}_changelist")).content.decode()
        (text,) = re.findall(r"<time [^>]*>(.*?)</time>", page)
        return text.replace("\xa0", " ")

    states.publish(own.raw(), {"n": "1"})
    states.bury()
    assert re.fullmatch(r"\d+ seconds?", shown("deadletter"))
    states.publish(own.raw(), {"n": "2"})
    states.retry(delay=240)
    assert re.fullmatch(r"in [34] minutes", shown("retryingmessage"))
    states.delay({"n": 3}, seconds=240)
    assert re.fullmatch(r"in [34] minutes", shown("delayedmessage"))
    groups.pause("orders", "billing", by="ann")
    assert re.fullmatch(r"\d+ seconds?", shown("consumergroup"))
