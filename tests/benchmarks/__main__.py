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
from .figures import FIGURES, CannotMeasure, Figure
from .machine import described
from .picture import drawn
from .report import markdown, measured, ratio_line, table

# Modules that declare figures, in the order of the report.
for _family in ("drain", "publish", "latency", "memory", "backlog"):
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
        done = list(_measured(bench, figures))
    finally:
        server.stop()
    missing = [each.name for each in figures if each.name not in {found["name"] for found in done}]
    if done:
        _tell({"machine": machine, "figures": done, "not_measured": missing}, options.into)
    return 1 if missing else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"any of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--into", type=Path, default=_INTO, help="where benchmarks.json and .svg are written")
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
            found = measured(figure, figure.measure(bench))
        except CannotMeasure as error:
            sys.stderr.write(f"can't be measured: {error}\n")
        else:
            sys.stderr.write(f"{found['ratio']:.2f} in {time.monotonic() - began:.0f} s\n")
            yield found


def _tell(report: dict[str, Any], into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    (into / "benchmarks.json").write_text(json.dumps(report, indent=1) + "\n")
    (into / "benchmarks.svg").write_text(drawn(report))
    page = into / "benchmarks.md"
    if page.exists():
        before, _, rest = page.read_text().partition(_BEGIN)
        page.write_text(f"{before}{_BEGIN}\n{markdown(report)}\n\n{_END}{rest.partition(_END)[2]}")
    sys.stdout.write(f"{table(report['figures'])}\n\nWritten: {into}/benchmarks.json and benchmarks.svg\n")
    if report["not_measured"]:
        sys.stdout.write(f"Not measured, for the reasons above: {', '.join(report['not_measured'])}\n")
    for each in report["figures"]:
        sys.stdout.write(f"{ratio_line(each)}\n")


if __name__ == "__main__":
    sys.exit(main())
