"""`make chaos`: try all nemeses, or the named ones, and say what became of the messages."""

import argparse
import random
import re
import sys
import time

from tests.support.postgresql import NEEDS, programs
from tests.support.servers import CHOSEN, ServerMissing, program

from . import report
from .nemeses import NEMESES
from .promises import NOTICED_UNDER
from .running import Job, outcomes

# So many trials at a time, and so many seconds of strikes in each.
STAGES, SECONDS = 3, 4.0


def main() -> int:
    """Run the trials; return exit code 1 unless everything is as promised."""
    options = _options()
    try:
        program(CHOSEN)
    except ServerMissing as error:
        sys.exit(str(error))
    if programs() is None:
        sys.exit(NEEDS)
    return _try_mutants(options) if options.mutants else _try_nemeses(options)


def _try_nemeses(options: argparse.Namespace) -> int:
    names = options.nemeses or list(NEMESES)
    seconds = _seconds(options, len(names))
    _tell(f"seed {options.seed}: {len(names)} nemeses, each for {seconds:g} s")
    began, done = time.monotonic(), {}
    for each in outcomes([Job(name, options.seed, seconds) for name in names], options.stages):
        done[each.job.nemesis] = each
        took = time.monotonic() - began
        _tell(f"{took:5.0f} s  {each.job.nemesis}: {'as promised' if each.holds else 'FAILED'}")
    verdicts = [verdict for name in names if (verdict := done[name].verdict) is not None]
    _tell(f"\n{report.table(verdicts)}\n", *(line for name in names for line in done[name].told))
    words = ["python -m tests.chaos", f"--seed {options.seed}", f"--seconds {seconds:g}", *options.nemeses]
    _tell(f"{time.monotonic() - began:.0f} s in all; the same again: {' '.join(words)}")
    return 0 if all(each.holds for each in done.values()) else 1


def _try_mutants(options: argparse.Namespace) -> int:
    seconds = _seconds(options, len(NOTICED_UNDER))
    wanted = set(options.nemeses or NEMESES)
    chosen = {mutant: nemesis for mutant, nemesis in NOTICED_UNDER.items() if nemesis in wanted}
    jobs = [Job(nemesis, options.seed, seconds, mutant) for mutant, nemesis in chosen.items()]
    noticed = 0
    for each in outcomes(jobs, options.stages):
        signs = [] if each.verdict is None else report.signs(each.verdict)
        noticed += bool(signs)
        told = f"noticed: {', '.join(signs)}" if signs else "NOT NOTICED"
        _tell(f"{each.job.mutant} under {each.job.nemesis}: {told}")
        if each.verdict is None:
            _tell(*each.told)
    _tell(f"seed {options.seed}: {noticed} of {len(jobs)} mutants were noticed")
    return 0 if noticed == len(jobs) else 1


def _tell(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("nemeses", nargs="*", metavar="NEMESIS", help=f"any of {', '.join(NEMESES)}; default: all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--seconds", type=float, help=f"for how long each nemesis strikes; default: {SECONDS:g}")
    parser.add_argument("--total", type=_duration, help="for how long the whole run strikes: 90s, 30m, 2h")
    parser.add_argument("--stages", type=int, default=STAGES, help=f"how many trials at a time; default: {STAGES}")
    parser.add_argument("--mutants", action="store_true", help="break the product on purpose, and see it noticed")
    options = parser.parse_args()
    if unknown := set(options.nemeses) - set(NEMESES):
        parser.error(f"no such nemesis: {', '.join(sorted(unknown))}; expected some of {', '.join(NEMESES)}")
    return options


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+)([smh])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of seconds, minutes or hours, such as 30m")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def _seconds(options: argparse.Namespace, count: int) -> float:
    """Return for how long each nemesis strikes."""
    if options.total is not None:
        return max(SECONDS, float(round(options.total * options.stages / count)))
    return SECONDS if options.seconds is None else float(options.seconds)


if __name__ == "__main__":
    sys.exit(main())
