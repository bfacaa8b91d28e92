"""The table of verdicts, and what is known of each message that isn't as promised."""

from collections.abc import Iterator, Sequence

from .checker import Verdict
from .evidence import Case, Evidence

HEAD = (
    "nemesis", "faults", "published", "lost", "unexpected", "repeated deliveries", "repeated effects", "stuck",
    "seconds to recover", "books",
)  # fmt: skip
# What a verdict holds lists of, where all is as promised empty ones.
KINDS = ("lost", "unexpected", "stuck", "repeated_effects", "unexcused")
# So many messages of a kind are told of.
MOST = 5


def row(verdict: Verdict) -> tuple[str, ...]:
    """Return the cells of a trial's line."""
    unexcused = f" ({len(verdict.unexcused)} not promised)" if verdict.unexcused else ""
    return (
        verdict.nemesis,
        str(verdict.faults),
        str(verdict.published),
        str(len(verdict.lost)),
        str(len(verdict.unexpected)),
        f"{verdict.repeated_deliveries}{unexcused}",
        str(len(verdict.repeated_effects)),
        str(len(verdict.stuck)),
        "never" if verdict.recovered is None else f"{verdict.recovered:.1f}",
        "unbalanced" if verdict.unbalanced else "balanced",
    )


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the table, in Markdown, which reads well in a terminal too."""
    rows = [HEAD, *map(row, verdicts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [" | ".join(cell.ljust(width) for cell, width in zip(each, widths, strict=True)) for each in rows]
    ruler = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([f"| {padded[0]} |", f"|{ruler}|", *(f"| {each} |" for each in padded[1:])])


def signs(verdict: Verdict) -> list[str]:
    """Return in a few words what isn't as promised."""
    counts = {kind: len(getattr(verdict, kind)) for kind in KINDS}
    found = [f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items() if count]
    return [
        *found,
        *(["books unbalanced"] if verdict.unbalanced else []),
        *(["never at rest"] if verdict.recovered is None else []),
    ]


def failures(verdict: Verdict, evidence: Evidence) -> Iterator[str]:
    """Yield lines that tell what isn't as promised, and what happened to the messages concerned."""
    for kind in KINDS:
        cases: list[Case] = getattr(verdict, kind)
        if cases:
            yield f"{verdict.nemesis}: {len(cases)} {kind.replace('_', ' ')}, of which:"
        for case in cases[:MOST]:
            yield from story(case, evidence)
    for each in verdict.unbalanced:
        yield f"{verdict.nemesis}: {each}"
    if verdict.recovered is None:
        yield f"{verdict.nemesis}: at the deadline there waited {evidence.waiting}"


def story(case: Case, evidence: Evidence) -> Iterator[str]:
    """Yield what is known of one message in one group, with times in seconds since the first publication."""
    stream, group, number = case
    begin = min([each.began for each in [*evidence.publications.values(), *evidence.runs]], default=0.0)
    yield f"  {number} in {stream}:{group}"
    known = evidence.publications.get(number)
    if known is not None:
        told = f"published by {known.how!r} to {known.fate!r}: {known.state} {known.error}"
        yield f"    {known.began - begin:7.3f} {told}"
    for run in evidence.runs:
        if (run.stream, run.group, run.number) == case:
            end = "never ended" if run.ended is None else f"ended {run.ended - begin:.3f}"
            yield f"    {run.began - begin:7.3f} run by {run.pid}, attempt {run.attempt}, {end}"
    for fault in evidence.faults:
        yield f"    {fault.began - begin:7.3f} {fault.nemesis} {fault.pids or ''} until {fault.ended - begin:.3f}"
    yield (
        f"    committed {number in evidence.sales}, entries {evidence.entries[stream, number]}, effects "
        f"{evidence.effects[case]}, dead letters {evidence.dead[case]}, waits {case in evidence.left}"
    )
