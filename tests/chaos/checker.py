"""Judges the evidence of a trial. Pure functions: no connection, no clock, no chance."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from .evidence import Case, Evidence, Fault
from .ledgers import Fate, Publication, Run, State
from .promises import PROMISES, Excuse, Promise
from .streams import GROUPS, WITH_INBOX

# A message in a group, and which attempt at it.
Attempt = tuple[Case, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a trial's messages: numbers where they are as promised, cases where they aren't."""

    nemesis: str
    faults: int
    published: int
    lost: list[Case]
    unexpected: list[Case]
    stuck: list[Case]
    repeated_deliveries: int
    repeated_effects: list[Case]
    unexcused: list[Case]
    unbalanced: list[str]
    recovered: float | None

    @property
    def holds(self) -> bool:
        """Whether all is as promised."""
        wrong = [*self.lost, *self.unexpected, *self.stuck, *self.repeated_effects, *self.unexcused]
        return not (wrong or self.unbalanced) and self.recovered is not None


def judged(evidence: Evidence) -> Verdict:
    """Judge the evidence by what is promised under its nemesis."""
    promise = PROMISES[evidence.nemesis]
    missing = [case for case in due(evidence) if not _ended(evidence, case)]
    repeats = repeated(evidence.runs)
    return Verdict(
        nemesis=evidence.nemesis,
        faults=len(evidence.faults),
        published=sum(is_published(each, evidence.sales) for each in evidence.publications.values()),
        lost=[case for case in missing if case not in evidence.left],
        unexpected=sorted(unexpected(evidence)),
        stuck=sorted({*evidence.left, *(case for case in missing if case in evidence.left)}),
        repeated_deliveries=sum(len(runs) - 1 for runs in repeats.values()),
        repeated_effects=sorted(doubled(evidence)),
        unexcused=sorted(set(unexcused(evidence, promise, repeats))),
        unbalanced=list(unbalanced(evidence, promise)),
        recovered=evidence.recovered,
    )


def is_published(publication: Publication, sales: set[str]) -> bool:
    """Return whether a message must be handled.

    With an outbox a committed transaction says so, whatever its publisher has heard. Without one, its publisher does.
    """
    if publication.stream == "kept" and publication.how in {"commit", "many", "rollback"}:
        return publication.number in sales
    return publication.state is State.ACKNOWLEDGED


def may_be_there(publication: Publication, sales: set[str]) -> bool:
    """Return whether a message may be handled: nobody knows of one whose publisher got no answer."""
    if publication.state is State.UNSURE and publication.how in {"commit", "many", "rollback"}:
        return publication.number in sales
    return publication.state is not State.FAILED or is_published(publication, sales)


def due(evidence: Evidence) -> Iterator[Case]:
    """Yield each message that must come to its end in a group."""
    for each in evidence.publications.values():
        if is_published(each, evidence.sales):
            for group in GROUPS[each.stream]:
                yield each.stream, group, each.number


def _ended(evidence: Evidence, case: Case) -> bool:
    rejected = evidence.publications[case[2]].fate is Fate.REJECT
    return case in (evidence.dead if rejected else evidence.effects)


def unexpected(evidence: Evidence) -> Iterator[Case]:
    """Yield what was handled though it can't have been published, and what ended in another way than it was told."""
    seen = {(each.stream, each.group, each.number) for each in evidence.runs} | {*evidence.effects, *evidence.dead}
    for case in seen:
        publication = evidence.publications.get(case[2])
        if publication is None or publication.stream != case[0] or not may_be_there(publication, evidence.sales):
            yield case
            continue
        other_end = evidence.effects if publication.fate is Fate.REJECT else evidence.dead
        if case in other_end:
            yield case


def repeated(runs: list[Run]) -> dict[Attempt, list[Run]]:
    """Return the runs of each attempt that was run more than once. A retry is another attempt, and no repetition."""
    attempts: dict[Attempt, list[Run]] = defaultdict(list)
    for each in runs:
        attempts[(each.stream, each.group, each.number), each.attempt].append(each)
    return {attempt: several for attempt, several in attempts.items() if len(several) > 1}


def doubled(evidence: Evidence) -> Iterator[Case]:
    """Yield each message whose effect is there twice in a group with the inbox."""
    for case, count in evidence.effects.items():
        if case[:2] in WITH_INBOX and count > 1:
            yield case


def unexcused(evidence: Evidence, promise: Promise, repeats: dict[Attempt, list[Run]]) -> Iterator[Case]:
    """Yield the messages that came twice, or died twice, where no fault explains that by what is promised."""
    for (case, _), runs in repeats.items():
        excuses = promise.bare if case[0] == "bare" else promise.kept
        again = [
            run for run in runs[:-1] if not any(_excuses(fault, excuses, promise, run) for fault in evidence.faults)
        ]
        if len(again) > _copies(evidence, excuses, case):
            yield case
    for case, count in evidence.dead.items():
        excuses = promise.bare if case[0] == "bare" else promise.kept
        if count > 1 + _copies(evidence, excuses, case) and Excuse.REMADE not in excuses:
            yield case
    for (stream, number), count in evidence.entries.items():
        if count > 1 and Excuse.RESENT not in (promise.bare if stream == "bare" else promise.kept):
            yield stream, "", number


def _copies(evidence: Evidence, excuses: frozenset[Excuse], case: Case) -> int:
    """Return how many entries of a message there are beyond the first, where it may have been sent again."""
    return evidence.entries[case[0], case[2]] - 1 if Excuse.RESENT in excuses else 0


def _excuses(fault: Fault, excuses: frozenset[Excuse], promise: Promise, run: Run) -> bool:
    """Return whether a fault explains that this run was followed by another of the same attempt."""
    settled_before = run.ended is not None and run.ended < fault.began - promise.around
    # What was read before a fault may be run right after it.
    read_before = run.began <= fault.ended + promise.around
    if Excuse.STRUCK in excuses and run.pid in fault.pids:
        return read_before and not settled_before
    if Excuse.COMMIT in excuses and fault.nemesis == "postgresql-restarted":
        return read_before and not settled_before
    if Excuse.FAILED_OVER in excuses and fault.nemesis in ("master-killed", "master-stopped"):
        return read_before and not settled_before
    return Excuse.REMADE in excuses and fault.nemesis == "group-destroyed" and read_before


def unbalanced(evidence: Evidence, promise: Promise) -> Iterator[str]:
    """Yield what is wrong with the books of each group."""
    for each in evidence.books:
        if each.missing != 0:
            yield f"{each.stream}:{each.group} misses {each.missing}"
        for name, count in each.by_others.items():
            if name not in promise.by_others:
                yield f"{each.stream}:{each.group} has {name} {count}"
