"""The comparisons of a run: for the JSON file, a table, and a line for each. `costs` reports the costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from .figures import Comparison, Figure

__all__ = ["disturbance", "in_columns", "markdown", "measured", "measured_on", "ratio_line", "table"]

# The share of a core that other processes may use before the report mentions it.
_DISTURBED = 0.1

Measured = Mapping[str, Any]


def measured(figure: Figure, comparison: Comparison) -> Measured:
    """Return a figure for the JSON file. `ratio` is of the medians, `ratios` of each round."""
    return {
        "name": figure.name,
        "what": figure.what,
        "unit": comparison.unit,
        "sides": [
            {"name": side.name, "median": side.median, "values": list(side.values)}
            for side in (comparison.over, comparison.under)
        ],
        "ratio": comparison.ratio,
        "ratios": comparison.ratios,
        "others_used": comparison.foreign,
    }


def table(figures: Sequence[Measured]) -> str:
    """Return a table with a row for each figure: medians with the minimum and maximum of the rounds."""
    return in_columns([("figure", "ratio", "(rounds)", *("", "") * 2), *(_row(each) for each in figures)])


def in_columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as lines, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(figure: Measured) -> tuple[str, ...]:
    cells = [figure["name"], f"{figure['ratio']:.2f}", f"({_span(figure['ratios'], '.2f')})"]
    for side in figure["sides"]:
        cells += [f"{side['name']} {side['median']:,.0f}", f"({_span(side['values'], ',.0f')})"]
    cells[-1] += f" {figure['unit']}"
    if disturbed := disturbance(figure):
        cells[-1] += f"; {disturbed}"
    return tuple(cells)


def disturbance(figure: Measured) -> str:
    """Return what to say if other processes used too much of the machine, else nothing."""
    used = figure["others_used"]
    return f"other processes used up to {used:.0%} of a core" if used > _DISTURBED else ""


def _span(values: Sequence[float], how: str) -> str:
    return f"{min(values):{how}} to {max(values):{how}}"


def ratio_line(figure: Measured) -> str:
    """Return a line for programs that read the output."""
    return f"ratio {figure['name']} {figure['ratio']:.3f}"


def markdown(report: Measured) -> str:
    """Return the table for the docs, with the descriptions of the figures and of the machine."""
    rows = [
        f"| `{each['name']}` | {each['what']} | {_side(each, 0)} | {_side(each, 1)} | {each['ratio']:.2f} |"
        for each in report["figures"]
    ]
    head = ["| figure | what against what | | | ratio |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, "", measured_on(report)])


def measured_on(report: Measured) -> str:
    """Return the line for the docs of what was measured on, and what couldn't be measured."""
    on = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    missing = ", ".join(f"`{each}`" for each in report["not_measured"])
    return f"Measured on: {on}.{f' Could not be measured: {missing}.' if missing else ''}"


def _side(figure: Measured, index: int) -> str:
    side = figure["sides"][index]
    return f"{side['name']}: {side['median']:,.0f} {figure['unit']}"
