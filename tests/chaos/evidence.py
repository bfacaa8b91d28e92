"""What a trial leaves to be judged: plain values, without any connection."""

from collections import Counter
from dataclasses import dataclass

from .ledgers import Publication, Run

# A message in a group: (stream, group, number).
Case = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Fault:
    """What a nemesis did, and which processes it concerned; times are those of the ledgers."""

    nemesis: str
    pids: tuple[int, ...]
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class BookOf:
    """The books of a group: how many messages they miss, and what others did."""

    stream: str
    group: str
    missing: int | None
    by_others: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of a trial.

    `sales` are the numbers whose transaction was committed. `effects` and `dead` count by case, `entries` by stream and
    number. `waiting` is how much was left where at the deadline, `left` the numbers of that. `recovered` are the
    seconds from the end of the last fault until nothing waited; None if it never came to that.
    """

    nemesis: str
    publications: dict[str, Publication]
    runs: list[Run]
    sales: set[str]
    effects: Counter[Case]
    dead: Counter[Case]
    entries: Counter[tuple[str, str]]
    faults: list[Fault]
    waiting: dict[str, int]
    left: set[Case]
    books: list[BookOf]
    recovered: float | None
