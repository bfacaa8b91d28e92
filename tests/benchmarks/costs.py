"""The costs of a run: for the JSON file, a table, and a line for each."""

from collections.abc import Mapping, Sequence
from typing import Any

from .figures import Cost, Figure
from .report import disturbance, in_columns, measured_on

__all__ = ["amount", "cost_line", "cost_markdown", "cost_table", "measured_cost"]

MeasuredCost = Mapping[str, Any]


def measured_cost(figure: Figure, cost: Cost) -> MeasuredCost:
    """Return a cost for the JSON file, with its parts; `at_most` is what the median may be."""
    return {
        "name": figure.name,
        "what": figure.what,
        "unit": cost.unit,
        "median": cost.median,
        "values": list(cost.values),
        "at_most": figure.at_most,
        "note": cost.note,
        "parts": {name: round(value, 2) for name, value in cost.parts.items()},
        "others_used": cost.foreign,
    }


def cost_table(costs: Sequence[MeasuredCost]) -> str:
    """Return a table with a row for each cost: the median, the minimum and maximum of the windows, the ceiling."""
    return in_columns([("cost", "takes", "(windows)", "at most", ""), *(_row(each) for each in costs)])


def _row(cost: MeasuredCost) -> tuple[str, ...]:
    low, high = (_number(edge(cost["values"])) for edge in (min, max))
    verdict = "kept" if cost["median"] <= cost["at_most"] else "EXCEEDED"
    told = "; ".join(filter(None, (verdict, cost["note"], disturbance(cost))))
    return (cost["name"], amount(cost), f"({low} to {high})", _number(cost["at_most"]), told)


def amount(cost: MeasuredCost) -> str:
    """Return the median with its unit."""
    return f"{_number(cost['median'])} {cost['unit']}"


def _number(value: float) -> str:
    """Return a number with three digits at least, or all that it has."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cost_line(cost: MeasuredCost) -> str:
    """Return a line for programs that read the output."""
    return f"cost {cost['name']} {cost['median']:.3f} at most {cost['at_most']:g}"


def cost_markdown(report: Mapping[str, Any]) -> str:
    """Return the table for the docs, with the descriptions of the costs and of the machine."""
    rows = [
        f"| `{each['name']}` | {each['what']} | {_cell(each)} | {_number(each['at_most'])} |"
        for each in report["figures"]
    ]
    head = ["| figure | what is counted | measured | at most |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, "", measured_on(report)])


def _cell(cost: MeasuredCost) -> str:
    return f"{amount(cost)}, {cost['note']}" if cost["note"] else amount(cost)
