"""The checker of `make chaos` notices what isn't as promised, and excuses what is."""

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .chaos import ledgers, report
from .chaos.checker import judged
from .chaos.evidence import BookOf, Evidence, Fault
from .chaos.ledgers import Fate, Ledger, Publication, Run, State
from .chaos.nemeses import NEMESES
from .chaos.promises import NOTICED_UNDER, PROMISES
from .chaos.streams import GROUPS

ONCE = ("bare", "once", "p1-1")
PLAIN = ("bare", "plain", "p1-1")
KEPT = ("kept", "async", "p1-1")


def publication(
    how: str = "now", state: State = State.ACKNOWLEDGED, fate: Fate = Fate.RETURN, **more: Any
) -> Publication:
    """A message that was published at 10 s."""
    return Publication("p1-1", more.pop("stream", "bare"), how, fate, 10.0, state)


def run(group: str = "once", began: float = 11.0, ended: float | None = 11.1, pid: int = 1, attempt: int = 1) -> Run:
    """A run of that message."""
    return Run("bare", group, "p1-1", attempt, pid, began, ended)


def evidence(**changes: Any) -> Evidence:
    """The evidence of one message that was handled by both groups, with changes."""
    good = Evidence(
        nemesis="process-killed",
        publications={"p1-1": publication()},
        runs=[run(), run("plain")],
        sales=set(),
        effects=Counter([ONCE, PLAIN]),
        dead=Counter(),
        entries=Counter([("bare", "p1-1")]),
        faults=[],
        waiting={},
        left=set(),
        books=[BookOf("bare", "once", 0, {})],
        recovered=0.1,
    )
    return replace(good, **changes)


def test_all_as_promised() -> None:
    """Nothing is told of a message that was handled once."""
    verdict = judged(evidence())
    assert verdict.holds
    assert list(report.failures(verdict, evidence())) == []
    assert report.row(verdict) == ("process-killed", "0", "1", "0", "0", "0", "0", "0", "0.1", "balanced")


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "an effect is missing": ("lost", {"effects": Counter([PLAIN])}),
    "a reject has no dead letter": (
        "lost",
        {"publications": {"p1-1": publication(fate=Fate.REJECT)}, "effects": Counter()},
    ),
    "a failed publication was handled": ("unexpected", {"publications": {"p1-1": publication(state=State.FAILED)}}),
    "a transaction that wasn't committed was published": (
        "unexpected",
        {"publications": {"p1-1": publication("commit", State.UNSURE)}},
    ),
    "nobody has published it": ("unexpected", {"publications": {}}),
    "a message died that should return": ("unexpected", {"dead": Counter([ONCE])}),
    "it waits for ever": ("stuck", {"effects": Counter([PLAIN]), "left": {ONCE}}),
    "its effect is there twice": ("repeated_effects", {"effects": Counter([ONCE, ONCE, PLAIN])}),
    "it came twice for no reason": ("unexcused", {"runs": [run(), run(began=12.0), run("plain")]}),
    "it was published twice": ("unexcused", {"entries": Counter({("bare", "p1-1"): 2})}),
    "it has two dead letters": ("unexcused", {"dead": Counter({ONCE: 2, PLAIN: 1})}),
    "the books miss one": ("unbalanced", {"books": [BookOf("bare", "once", 1, {})]}),
    "others did something": ("unbalanced", {"books": [BookOf("bare", "once", 0, {"made-again": 1})]}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_noticed_and_told(wrong: str) -> None:
    """With the message's number and what happened to it."""
    kind, changes = WRONG[wrong]
    found = evidence(**changes)
    verdict = judged(found)
    assert getattr(verdict, kind), verdict
    assert not verdict.holds
    told = "\n".join(report.failures(verdict, found))
    assert "p1-1" in told or kind == "unbalanced", told


def test_a_group_that_never_rests_is_noticed() -> None:
    """Though all known messages were handled."""
    found = evidence(recovered=None, waiting={"bare:once pending": 1})
    assert not judged(found).holds
    assert "bare:once pending" in "\n".join(report.failures(judged(found), found))


@pytest.mark.parametrize(
    ("ended", "killed", "excused"),
    [
        (None, 11.2, True),  # killed as it ran
        (11.1, 11.12, True),  # handled right before
        (11.1, 14.0, False),  # acknowledged long before
        (None, 10.0, False),  # the process of that id had died before
    ],
)
def test_a_repetition_is_excused_by_the_end_of_its_process(ended: float | None, killed: float, excused: bool) -> None:
    """If the message was running, or just handled, when that was killed."""
    runs = [run(ended=ended), run(began=15.0, ended=15.1, pid=2), run("plain")]
    found = evidence(runs=runs, faults=[Fault("process-killed", (1,), killed, killed + 0.1)])
    assert judged(found).holds is excused
    assert judged(found).repeated_deliveries == 1
    other = [Fault("process-killed", (3,), killed, killed + 0.1)]
    assert not judged(replace(found, faults=other)).holds


@pytest.mark.parametrize(
    ("began", "excused"), [(11.0, True), (13.0, True), (14.0, False)], ids=["while it ran", "right after it", "later"]
)
def test_a_repetition_is_excused_by_another_master_whatever_its_process(began: float, excused: bool) -> None:
    """What was acknowledged right before may not be on the server that was elected; what was long before is."""
    runs = [run(), run(began=20.0, ended=20.1, pid=2), run("plain")]
    found = evidence(nemesis="master-killed", runs=runs, faults=[Fault("master-killed", (), began, began + 1)])
    assert judged(found).holds is excused
    assert not judged(replace(found, nemesis="server-killed")).holds


@pytest.mark.parametrize("nemesis", ["worker-stopped", "group-destroyed"])
def test_what_was_read_before_a_fault_may_be_run_right_after_it(nemesis: str) -> None:
    """A worker that wakes up goes on with what it has; so does one whose group was taken away."""
    found = evidence(nemesis=nemesis, runs=[run(), run(began=15.0, ended=15.1, pid=2), run("plain")])
    assert judged(replace(found, faults=[Fault(nemesis, (1,), 8.0, 10.9)])).holds
    assert not judged(replace(found, faults=[Fault(nemesis, (1,), 7.0, 9.9)])).holds


def test_a_second_entry_excuses_a_second_run_with_an_outbox_alone() -> None:
    """And no third one."""
    kept = {
        "publications": {"p1-1": publication("commit", State.UNSURE, stream="kept")},
        "sales": {"p1-1"},
        "effects": Counter([("kept", "batch", "p1-1"), KEPT, KEPT]),
        "entries": Counter({("kept", "p1-1"): 2}),
        "books": [],
    }
    twice = [Run(*KEPT, 1, 1, began, began + 0.1) for began in (11.0, 12.0)]
    assert judged(evidence(**kept, runs=twice)).holds
    assert judged(evidence(**kept, runs=[*twice, Run(*KEPT, 1, 1, 13.0, 13.1)])).unexcused == [KEPT]
    assert judged(evidence(**kept, runs=twice, nemesis="calm")).unexcused


def test_another_attempt_is_no_repetition() -> None:
    """A retry is what was asked for."""
    assert judged(evidence(runs=[run(), run(attempt=2), run("plain")])).repeated_deliveries == 0


def test_ledgers_say_how_each_publication_and_run_ended(tmp_path: Path) -> None:
    """Also of those that were killed in the middle, and of one that a signal told of first."""
    ledger = Ledger(tmp_path / "publications")
    for number in ("1", "2", "3"):
        ledger.note("begun", number, "bare", "commit", "return")
    ledger.note("acknowledged", "1", "")
    ledger.note("failed", "2", "OOM")
    ledger.note("acknowledged", "2", "")
    found = ledgers.publications(tmp_path / "publications")
    assert {each.number: each.state for each in found.values()} == {"1": "acknowledged", "2": "failed", "3": "unsure"}
    handled = Ledger(tmp_path / "runs")
    for what, pid in (("began", 1), ("began", 2), ("ended", 2)):
        handled.note(what, "bare", "once", "1", 1, pid)
    assert [(each.pid, each.ended is not None) for each in ledgers.runs(tmp_path / "runs")] == [(1, False), (2, True)]


def test_each_nemesis_has_a_promise_and_each_mutant_is_there() -> None:
    """And is noticed under a nemesis that there is."""
    assert set(PROMISES) == set(NEMESES)
    assert set(NOTICED_UNDER.values()) <= set(NEMESES)
    tree = ast.parse((Path(__file__).parent / "chaos" / "mutants.py").read_text())
    functions = {each.name.replace("_", "-") for each in tree.body if isinstance(each, ast.FunctionDef)}
    assert functions - {"rewrite"} == set(NOTICED_UNDER)
    assert set(GROUPS) == {"bare", "kept"}
