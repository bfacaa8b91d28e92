"""The figures, and the result of a measurement.

A figure is a function that takes the `Bench`, declared by `@figure(name)`. It returns a `Comparison`; or, if it is
declared with the most that it may be (`at_most`), a `Cost`. Its docstring says what is compared with what, or what is
measured; the report shows the first paragraph.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["FIGURES", "CannotMeasure", "Comparison", "Cost", "Figure", "Series", "figure"]


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
class Cost:
    """What something takes, a value for each window of time. The less, the better for us.

    `parts` says what it consists of, by name and in the same unit, and `note` what belongs beside it. `foreign` is as
    in a `Comparison`.
    """

    unit: str
    values: Sequence[float]
    foreign: float
    parts: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def median(self) -> float:
        """The median of the windows, which is the result."""
        return statistics.median(self.values)


@dataclass(frozen=True)
class Figure:
    """One line of the report. `at_most` is the ceiling of a cost, in its unit; a comparison has none."""

    name: str
    measure: Callable[[Any], Comparison | Cost]
    at_most: float | None = None

    @property
    def what(self) -> str:
        """The first paragraph of the docstring, in one line."""
        return " ".join((self.measure.__doc__ or "").partition("\n\n")[0].split())


Measure = TypeVar("Measure", bound=Callable[[Any], Comparison | Cost])

# By name, in the order of declaration, which is the order of the report.
FIGURES: dict[str, Figure] = {}


def figure(name: str, *, at_most: float | None = None) -> Callable[[Measure], Measure]:
    """Declare a function as the figure of this name; with `at_most`, as that of a cost and its ceiling."""

    def declare(measure: Measure) -> Measure:
        FIGURES[name] = Figure(name, measure, at_most)
        return measure

    return declare
