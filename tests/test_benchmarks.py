"""`make bench` counts what an idle worker costs, and says whether that is more than it may be."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from .benchmarks import __main__ as command
from .benchmarks import idle
from .benchmarks.bench import Bench
from .benchmarks.costs import cost_line, cost_table, measured_cost
from .benchmarks.figures import FIGURES, CannotMeasure, Cost, Figure
from .benchmarks.machine import cpu_seconds, family
from .support.servers import Server
from .support.waiting import wait_until

# What a script does counts too.
SCRIPT = "redis.call('PING') return redis.call('PING')"


@pytest.fixture
def bench(make_server: Callable[..., Server]) -> Bench:
    """A bench with a server of its own."""
    return Bench(make_server("valkey"))


def cost_of(value: float, **options: object) -> Cost:
    """A cost of three equal windows on a quiet machine."""
    return Cost("commands/s", [value] * 3, 0.0, **options)


def test_commands_of_others_are_counted_and_no_own_ones(bench: Bench) -> None:
    """Each command counts once, also within a script; what the measurer asks doesn't."""
    looks = [idle._look(bench, [])]
    for pings in (4, 0):
        for _ in range(pings):
            bench.client.ping()
        bench.client.eval(SCRIPT, 0)
        looks.append(idle._look(bench, []))
    rates, by_command = idle._rates(looks)
    seconds = [end.at - begin.at for begin, end in pairwise(looks)]
    assert [round(rate * each) for rate, each in zip(rates, seconds, strict=True)] == [7, 3]
    assert {name: round(rate * sum(seconds)) for name, rate in by_command.items()} == {"ping": 8, "eval": 2}


def test_an_idle_worker_is_measured_when_each_consumer_reads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands, its threads and its share of a core, those of its processes too."""
    monkeypatch.setattr(idle, "_SECONDS", 2.2)
    scene = idle._Scene(("orders:group-0", "orders-1", "--processes", "2"), ("orders", "orders-1"), 4)
    seen = idle._watched(bench, scene)
    rates, by_command = idle._rates(seen.looks)
    assert len(rates) == 3
    assert sum(rates) > 0
    assert by_command["expire"] > 0  # each process says every five seconds that it is there
    assert seen.looks[-1].cpu > seen.looks[0].cpu
    # The supervisor's, and in each process the main one and that of each consumer at least.
    assert seen.threads >= 1 + 2 * 3


def test_consumers_that_never_come_are_no_figure(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how many read, and how many should. On a busy machine the one that is there may be late, too."""
    monkeypatch.setattr(idle, "_READY_WITHIN", 3.0)
    with pytest.raises(CannotMeasure, match=r"[01] of 2 consumers"):
        idle._watched(bench, idle._Scene(("orders:group-0",), ("orders",), 2))


def test_a_family_is_the_process_and_its_descendants() -> None:
    """So a worker's use is that of all its processes."""
    with subprocess.Popen(["sh", "-c", "cat; exit"], stdin=subprocess.PIPE) as shell:
        mine = wait_until(lambda: len(family(shell.pid)) == 2 and family(os.getpid()), "the shell has no child")
        assert set(mine) >= {os.getpid(), *family(shell.pid)}


def test_the_seconds_of_a_core_are_those_that_were_used() -> None:
    """What a process has computed."""
    before, began = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - began < 0.3:
        pass
    assert cpu_seconds(os.getpid()) - before == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(("value", "verdict"), [(600.0, "kept"), (600.1, "EXCEEDED")])
def test_a_cost_above_its_ceiling_is_told(value: float, verdict: str) -> None:
    """In the table, with the ceiling."""
    found = measured_cost(Figure("idle.groups", cost_of, 600), cost_of(value, note="9 threads"))
    assert cost_table([found]).splitlines()[1].split(None, 1)[1].endswith(f"600      {verdict}; 9 threads")
    assert cost_line(found) == f"cost idle.groups {value:.3f} at most 600"


def test_costs_fill_their_own_page_and_file(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Files of the comparisons, which weren't measured, stay as they are."""

    def made_up(_: Bench) -> Cost:
        """Commands a second of nobody."""
        return cost_of(1234.0, parts={"ping": 1234.0})

    monkeypatch.setitem(FIGURES, "idle.nobody", Figure("idle.nobody", made_up, 2000))
    monkeypatch.setattr("sys.argv", ["benchmarks", "idle.nobody", "--into", str(tmp_path)])
    pages = {name: tmp_path / name for name in ("benchmarks.md", "performance.md", "benchmarks.json")}
    for page in pages.values():
        page.write_text("before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n")
    assert command.main() == 0
    filled = pages.pop("performance.md").read_text()
    assert "| `idle.nobody` | Commands a second of nobody. | 1,234 commands/s | 2,000 |" in filled
    assert filled.startswith("before\n")
    assert filled.endswith("<!-- measured: end -->\nafter\n")
    assert "old" not in filled
    assert all("\nold\n" in page.read_text() for page in pages.values())
    (figure,) = json.loads((tmp_path / "costs.json").read_text())["figures"]
    assert (figure["median"], figure["at_most"], figure["parts"]) == (1234.0, 2000, {"ping": 1234.0})
    assert capsys.readouterr().out.endswith("\ncost idle.nobody 1234.000 at most 2000\n")
