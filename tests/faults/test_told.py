"""What fails with its process is told as any failure: logged, signalled and counted, each once."""

import json
import re
import socket
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from ..support.books import letters, totals
from ..support.notes import whole_lines
from ..support.samples import samples
from ..support.waiting import wait_until
from ..support.workers import Fleet

Raw = Any
GROUP = {"BACKOFF": (0.01, 0.02), "MAX_CRASHES": 1}
HANDLER = "tests.support.obedient_handlers._declare.<locals>.run"


class Hearing:
    """A worker whose receivers write down what they hear; `heard` are the calls."""

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self.fleet = fleet
        self._file = directory / "heard"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = int(free.getsockname()[1])
        self.said = ""
        self._worker: Any = None

    def start(
        self,
        raw: Raw,
        *does: str,
        fields: Mapping[str, str] = MappingProxyType({}),
        handlers: str = "",
        receiver_hangs: bool = False,
        shutdown_timeout: float = 20,
        **settings: Any,
    ) -> None:
        """Publish messages that ask for this, and start a worker for a group with these settings."""
        self.fleet.streams = {"orders": {"GROUPS": {"billing": {**GROUP, **settings}}}}
        pipeline = raw.pipeline()
        for do in does:
            pipeline.xadd("orders", {"do": do, **fields})
        pipeline.execute()
        environment = {"TEST_HANDLERS": f"tests.support.hearing_handlers {handlers}", "TEST_HEARD": str(self._file)}
        if receiver_hangs:
            environment["TEST_RECEIVER_HANGS"] = "1"
        options = ["--metrics-port", str(self._port), "--shutdown-timeout", str(shutdown_timeout)]
        self._worker = self.fleet.start(*options, **environment)

    def stop(self, code: int = 0) -> None:
        """End the worker, which ends with this code; `said` is its log."""
        self._worker.terminate()
        self.said = self.fleet.finish(self._worker, code=code)

    @property
    def heard(self) -> list[dict[str, str]]:
        """What the receivers heard so far."""
        return [json.loads(line) for line in whole_lines(self._file)]

    def count(self, signal: str, **told: str) -> int:
        """Return how often a signal was sent with these arguments."""
        wanted = {"signal": signal, **told}
        return sum(wanted.items() <= each.items() for each in self.heard)

    def logged(self, pattern: str) -> int:
        """Return how many lines of the log match."""
        return sum(bool(re.search(pattern, line)) for line in self.said.splitlines())

    @property
    def counted(self) -> dict[str, int]:
        """What the worker's own port says, without zeros."""
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=20) as reply:
                found = samples(reply.read().decode())
        except (URLError, ConnectionError):
            return {}
        names = {"retried": "retried_total", "dead-lettered": "dead_lettered_total", "runs": "duration_seconds_count"}
        values = {name: int(found[f"redis_streams_{metric}", "billing", "orders"]) for name, metric in names.items()}
        return {name: value for name, value in values.items() if value}


def minutes(raw: Raw) -> dict[str, int]:
    """Return the server's figures of all minutes together."""
    found: Counter[str] = Counter()
    for key in raw.scan_iter("{orders}:stats:billing:*"):
        found.update({name: int(value) for name, value in raw.hgetall(key).items()})
    return {name: found[name] for name in ("retried", "dead-lettered", "runs") if found[name]}


@pytest.fixture
def hearing(fleet: Fleet, tmp_path: Path) -> Hearing:
    """Return a worker that is yet to be started."""
    return Hearing(fleet, tmp_path)


ENDS = [
    ("sleep:600", {"TIMEOUT": 0.3, "MAX_RETRIES": 0}, "TIMEOUT of 0.3 s"),
    pytest.param("sleep:600", {"TIMEOUT": 0.3, "MAX_RETRIES": 1}, "TIMEOUT of 0.3 s", marks=pytest.mark.slow),
    ("exit-hard:3", {"MAX_RETRIES": 0}, "ended with exit code 3"),
    pytest.param("exit-hard:3", {"MAX_RETRIES": 1, "MAX_CRASHES": 2}, "ended with exit code 3", marks=pytest.mark.slow),
    ("die", {"MAX_RETRIES": 0}, "was ended by SIGKILL"),
    ("die", {"MAX_RETRIES": 1, "MAX_CRASHES": 2}, "was ended by SIGKILL"),
]


@pytest.mark.parametrize(("do", "settings", "how"), ENDS)
def test_what_fails_with_its_process_is_told_once(
    raw: Raw, hearing: Hearing, do: str, settings: dict[str, Any], how: str
) -> None:
    """Three messages, each of whose runs ends its process, and is a failure; the last of each makes a dead letter."""
    again = settings["MAX_RETRIES"] if "TIMEOUT" in settings else settings.get("MAX_CRASHES", 1)
    expected = {"retried": 3 * again, "dead-lettered": 3, "runs": 3 * (again + 1)}
    expected = {name: count for name, count in expected.items() if count}
    hearing.start(raw, do, do, do, **settings)
    wait_until(lambda: hearing.counted == expected, deadline=120)
    wait_until(lambda: minutes(raw) == expected)
    wait_until(lambda: hearing.count("dead-lettered") == 3)
    wait_until(lambda: hearing.count("failed") == 3 * (again + 1))
    hearing.stop()
    assert hearing.counted == {}  # the port is closed: nothing was told since
    assert len(letters(raw)) == 3
    assert hearing.count("failed", outcome="retry", handler=HANDLER) == 3 * again
    assert hearing.count("failed", outcome="dead letter", handler=HANDLER) == 3
    assert all(how in each["error"] for each in hearing.heard)
    assert all(0 < float(each["duration"]) < 30 for each in hearing.heard if each["signal"] == "failed")
    assert len(hearing.heard) == 3 * (again + 2)
    if "TIMEOUT" in settings:
        assert hearing.logged("attempt 1 of .* failed") == 3 * again
    else:
        assert hearing.logged(f"when its worker {how}. It runs next in quarantine") == 3 * again
        assert hearing.logged(f"when its worker {how}. It becomes a dead letter") == 3
    assert hearing.logged("dead-lettered") == 3


def test_each_message_of_a_batch_that_takes_too_long_is_told(raw: Raw, hearing: Hearing) -> None:
    """Nobody knows which one it was, so each has failed, and runs alone; the call counts once for its duration."""
    hearing.start(
        raw, "sleep:300", "sleep:300", fields={"type": "batched"}, handlers="tests.faults.stopping",
        TIMEOUT=0.3, MAX_RETRIES=0,
    )  # fmt: skip
    expected = {"retried": 2, "dead-lettered": 2, "runs": 4}
    wait_until(lambda: hearing.counted == expected)
    wait_until(lambda: minutes(raw) == expected)
    wait_until(lambda: len(hearing.heard) == 6)
    hearing.stop()
    both = "The process that ran it had run it, with 1 others, beyond its TIMEOUT."
    assert hearing.count("failed", outcome="retry", error=both) == 2
    assert hearing.count("failed", outcome="dead letter") == 2
    assert hearing.count("dead-lettered", reason="retries exhausted") == 2


@pytest.mark.parametrize(
    ("do", "error", "settings"),
    [
        ("now:die", "The process that ran it was ended by SIGKILL.", {"MAX_CRASHES": 1}),
        pytest.param(
            "now:sleep:600",
            "it ran for longer than its TIMEOUT of 0.3 s",
            {"TIMEOUT": 0.3, "MAX_RETRIES": 1},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_coroutine_that_fails_with_its_process_is_told_once(
    raw: Raw, hearing: Hearing, do: str, error: str, settings: dict[str, Any]
) -> None:
    """As a function is."""
    hearing.start(raw, do, fields={"type": "async"}, handlers="tests.faults.stopping", **settings)
    expected = {"retried": 1, "dead-lettered": 1, "runs": 2}
    wait_until(lambda: hearing.counted == expected)
    wait_until(lambda: minutes(raw) == expected)
    wait_until(lambda: len(hearing.heard) == 3)
    hearing.stop()
    assert [hearing.count("failed", outcome=each) for each in ("retry", "dead letter")] == [1, 1]
    assert all(error in each["error"] for each in hearing.heard if each["signal"] == "failed")
    assert hearing.logged("dead-lettered") == 1


@pytest.mark.parametrize(("decode", "reason"), [("die", "crashed the worker"), ("hang", "invalid")])
def test_what_ends_its_process_before_it_runs_is_told_as_a_dead_letter(
    raw: Raw, hearing: Hearing, decode: str, reason: str
) -> None:
    """No handler was called, so no run has failed."""
    hearing.start(raw, "ok", fields={"decode": decode}, handlers="tests.faults.decoding", TIMEOUT=0.3)
    wait_until(lambda: hearing.counted == {"dead-lettered": 1})
    wait_until(lambda: minutes(raw) == {"dead-lettered": 1})
    wait_until(lambda: hearing.heard)
    hearing.stop()
    (told,) = hearing.heard
    assert (told["signal"], told["reason"], told["handler"]) == ("dead-lettered", reason, "")
    assert hearing.logged("dead-lettered") == 1


@pytest.mark.parametrize(("end", "last"), [("sleep:600", 1), ("first-waits:{path}:die", 0)])
def test_what_is_settled_while_a_handler_runs_is_told_though_its_process_ends(
    raw: Raw, hearing: Hearing, tmp_path: Path, end: str, last: int
) -> None:
    """The handler of the next message of the batch doesn't return: never, or the first time."""
    path = tmp_path / "told"
    timeout = 2 if last else 600
    hearing.start(raw, "ok", "reject", "fail", end.format(path=path), MAX_RETRIES=0, TIMEOUT=timeout)
    wait_until(lambda: [hearing.count("dead-lettered", do=each) for each in ("reject", "fail")] == [1, 1])
    path.touch()
    wait_until(lambda: totals(raw) == {"acknowledged": 2 - last, "dead-lettered": 2 + last})
    wait_until(lambda: hearing.counted.get("dead-lettered") == 2 + last)
    wait_until(lambda: minutes(raw).get("dead-lettered") == 2 + last)
    wait_until(lambda: hearing.count("dead-lettered") == 2 + last)
    hearing.stop()
    assert hearing.count("processed", do="ok") == 1
    assert [hearing.count("failed", do=each, outcome="dead letter") for each in ("reject", "fail")] == [1, 1]
    assert [hearing.count("dead-lettered", do=each) for each in ("reject", "fail")] == [1, 1]
    assert hearing.logged("dead-lettered") == 2 + last


def test_what_a_process_had_not_told_the_server_when_it_was_killed_is_in_the_figures(
    raw: Raw, hearing: Hearing
) -> None:
    """At a stop no other process takes its place, to count on. What the stop ended hasn't failed."""
    hearing.start(raw, "reject", "fail", "sleep:600", shutdown_timeout=0.1, MAX_RETRIES=0)
    wait_until(lambda: hearing.count("dead-lettered") == 2)
    hearing.stop(code=1)
    assert minutes(raw) == {"dead-lettered": 2}
    assert (hearing.count("failed"), hearing.count("failed", do="sleep:600")) == (2, 0)


def test_what_is_settled_before_a_batch_that_ends_the_process_is_told(raw: Raw, hearing: Hearing) -> None:
    """Batches of one, each asked for while the one before runs: none takes the news of the last with it."""
    ends = {50, 170, 290}
    does = ["die" if n in ends else "reject" if n % 5 == 0 else "ok" for n in range(400)]
    hearing.start(raw, *does, BATCH_SIZE=1)
    dead = does.count("die") + does.count("reject")
    wait_until(lambda: totals(raw).get("dead-lettered") == dead)
    wait_until(lambda: totals(raw).get("acknowledged") == does.count("ok"))
    wait_until(lambda: hearing.counted.get("dead-lettered") == dead)
    hearing.stop()
    for signal, count in (("dead-lettered", dead), ("processed", does.count("ok"))):
        told = Counter(each["id"] for each in hearing.heard if each["signal"] == signal)
        assert len(told) == count
        assert set(told.values()) == {1}
    assert minutes(raw)["dead-lettered"] == dead
    assert hearing.logged("dead-lettered") == dead


def test_a_receiver_that_hangs_holds_up_no_message(raw: Raw, hearing: Hearing) -> None:
    """Messages run meanwhile, also alone; the process in which it hangs is ended in time, and the log says so."""
    hearing.start(raw, "ok", "die", "ok", receiver_hangs=True)
    wait_until(lambda: totals(raw) == {"acknowledged": 2, "dead-lettered": 1})
    wait_until(lambda: hearing.count("dead-lettered", do="die") == 1)
    hearing.stop()
    assert hearing.logged("Receivers of signals didn't return in process") == 1
    assert hearing.counted == {}
