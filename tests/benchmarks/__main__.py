"""`make bench`: measure all figures, or the named ones, and report them."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from tests.support.servers import Server, ServerMissing

from .bench import Bench
from .costs import amount, cost_line, cost_markdown, cost_table, measured_cost
from .figures import FIGURES, CannotMeasure, Comparison, Cost, Figure
from .machine import described
from .picture import drawn
from .report import markdown, measured, ratio_line, table

# Modules that declare figures, in the order of the report.
for _family in ("drain", "publish", "outbox", "relaying", "inbox", "latency", "memory", "backlog", "idle"):
    import_module(f"{__package__}.{_family}")

_ROOT = Path(__file__).parent.parent.parent
# Ignored by git, and removed by `make clean`.
_INTO = _ROOT / "build" / "benchmarks"
_BEGIN, _END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


def main() -> int:
    """Measure; return exit code 1 if a figure couldn't be measured, whatever the other figures are."""
    options = _options()
    figures = [FIGURES[name] for name in options.figures] or list(FIGURES.values())
    try:
        # No file, so only messages cost time; emptying frees memory at once, not in a thread beside the next run.
        server = Server(appendonly="no", lazyfree_lazy_user_flush="no", lazyfree_lazy_user_del="no")
    except ServerMissing as error:
        sys.stderr.write(f"Nothing can be measured: {error}\n")
        return 1
    try:
        bench = Bench(server)
        machine = {**described(), **_versions(bench)}
        done = {found["name"]: found for found in _measured(bench, figures)}
    finally:
        server.stop()
    comparisons = _report(machine, [each for each in figures if each.at_most is None], done)
    costs = _report(machine, [each for each in figures if each.at_most is not None], done)
    if done:
        _tell(comparisons, costs, options.into)
    return 0 if len(done) == len(figures) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"any of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--into", type=Path, default=_INTO, help="where the files are written")
    options = parser.parse_args()
    if unknown := set(options.figures) - set(FIGURES):
        parser.error(f"no such figure: {', '.join(sorted(unknown))}; expected some of {', '.join(FIGURES)}")
    return options


def _versions(bench: Bench) -> dict[str, str]:
    said: dict[str, Any] = bench.client.info("server")
    name = "valkey" if "valkey_version" in said else "redis"
    packages = {each: metadata.version(each) for each in ("django", "redis", "hiredis")}
    packages["redis-py"] = packages.pop("redis")
    return {f"{name} server": said[f"{name}_version"], **packages}


def _measured(bench: Bench, figures: Sequence[Figure]) -> Iterator[Any]:
    for figure in figures:
        began = time.monotonic()
        sys.stderr.write(f"{figure.name} … ")
        sys.stderr.flush()
        try:
            outcome = figure.measure(bench)
        except CannotMeasure as error:
            sys.stderr.write(f"can't be measured: {error}\n")
        else:
            found, in_short = _reported(figure, outcome)
            sys.stderr.write(f"{in_short} in {time.monotonic() - began:.0f} s\n")
            yield found


def _reported(figure: Figure, outcome: Comparison | Cost) -> tuple[Any, str]:
    """Return what the JSON file holds of a figure, and the result in short."""
    if isinstance(outcome, Cost):
        found = measured_cost(figure, outcome)
        return found, amount(found)
    return measured(figure, outcome), f"{outcome.ratio:.2f}"


def _report(machine: dict[str, Any], figures: Sequence[Figure], done: dict[str, Any]) -> dict[str, Any]:
    """Return what the JSON file of one kind of figures holds."""
    return {
        "machine": machine,
        "figures": [done[each.name] for each in figures if each.name in done],
        "not_measured": [each.name for each in figures if each.name not in done],
    }


def _tell(comparisons: dict[str, Any], costs: dict[str, Any], into: Path) -> None:
    """Write files and tables of each kind that was measured, and at the end a line for each figure."""
    into.mkdir(parents=True, exist_ok=True)
    if comparisons["figures"]:
        _tell_comparisons(comparisons, into)
    if costs["figures"]:
        _tell_costs(costs, into)
    if missing := [*comparisons["not_measured"], *costs["not_measured"]]:
        sys.stdout.write(f"Not measured, for the reasons above: {', '.join(missing)}\n")
    for line in [*map(ratio_line, comparisons["figures"]), *map(cost_line, costs["figures"])]:
        sys.stdout.write(f"{line}\n")


def _tell_comparisons(report: dict[str, Any], into: Path) -> None:
    (into / "benchmarks.json").write_text(json.dumps(report, indent=1) + "\n")
    (into / "benchmarks.svg").write_text(drawn(report))
    _fill(into / "benchmarks.md", markdown(report))
    sys.stdout.write(f"{table(report['figures'])}\n\nWritten: {into}/benchmarks.json and benchmarks.svg\n\n")


def _tell_costs(report: dict[str, Any], into: Path) -> None:
    (into / "costs.json").write_text(json.dumps(report, indent=1) + "\n")
    _fill(into / "performance.md", cost_markdown(report))
    sys.stdout.write(f"{cost_table(report['figures'])}\n\nWritten: {into}/costs.json\n\n")


def _fill(page: Path, measured_table: str) -> None:
    """Put the table between the marks of the page, if that is there."""
    if page.exists():
        before, _, rest = page.read_text().partition(_BEGIN)
        page.write_text(f"{before}{_BEGIN}\n{measured_table}\n\n{_END}{rest.partition(_END)[2]}")


if __name__ == "__main__":
    sys.exit(main())
