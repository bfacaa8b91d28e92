"""The figures, and the result of a measurement.

A figure is a function that takes the `Bench` and returns a `Comparison`, declared by `@figure(name)`. Its docstring
says what is compared with what; the report shows the first paragraph.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["FIGURES", "CannotMeasure", "Comparison", "Figure", "Series", "figure"]


class CannotMeasure(Exception):
    """A figure can't be measured here and now; the message says why."""


@dataclass(frozen=True)
class Series:
    """The values of one side, one a round."""

    name: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        """The median of the rounds, which is the result."""
        return statistics.median(self.values)


@dataclass(frozen=True)
class Comparison:
    """Two sides, measured in turns. The further `over` is above `under`, the better for us.

    `foreign` is the largest share of a core that other processes used during a run: above a tenth or so, the
    figure measures those too.
    """

    unit: str
    over: Series
    under: Series
    foreign: float

    @property
    def ratio(self) -> float:
        """The ratio of the medians."""
        return self.over.median / self.under.median

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round."""
        return [over / under for over, under in zip(self.over.values, self.under.values, strict=True)]


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    name: str
    measure: Callable[[Any], Comparison]

    @property
    def what(self) -> str:
        """The first paragraph of the docstring, in one line."""
        return " ".join((self.measure.__doc__ or "").partition("\n\n")[0].split())


# By name, in the order of declaration, which is the order of the report.
FIGURES: dict[str, Figure] = {}


def figure(name: str) -> Callable[[Callable[[Any], Comparison]], Callable[[Any], Comparison]]:
    """Declare a function as the figure of this name."""

    def declare(measure: Callable[[Any], Comparison]) -> Callable[[Any], Comparison]:
        FIGURES[name] = Figure(name, measure)
        return measure

    return declare
