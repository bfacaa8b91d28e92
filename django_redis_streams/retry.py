"""When a failed run is tried again, and when it isn't: the whole decision, as one pure function.

Backoff is exponential with "equal jitter": half of `min(cap, base * 2 ** (attempt - 1))` is waited for certain, so
that all retries together outlast a failure of known length; the other half is random, so that messages that failed
together don't come back together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .exceptions import Reject, Retry
from .outcomes import DeadLetter, Failure, Outcome, Reason, RetryLater

__all__ = ["LONGEST_OUTAGE", "RetryPolicy", "backoff_bounds", "backoff_delay", "judge", "longest_retry"]

# In seconds: for so long a message may find a database unavailable before its runs use up retries.
LONGEST_OUTAGE = 86_400.0
# In seconds: the bounds of what an outage counts as having lasted. The message waits for between half of that and all
# of it: 0.5 seconds at least and 60 at most, so that it goes on soon afterwards.
_OUTAGE_BACKOFF = (1.0, 60.0)

# 2 ** 63 seconds is beyond any cap, and far from overflowing a float.
_MOST_DOUBLINGS = 63
# Some 300 years, in seconds: a handler may ask for more than a server, or a line of a log, can hold.
_LONGEST_DELAY = 1e10


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how soon a message is run again, and for which exceptions.

    `max_retries` runs follow the first. `backoff` is (base, cap) in seconds. With `retry_on`, only these
    exceptions are retried; those in `reject_on` never are, and win.
    """

    max_retries: int
    backoff: tuple[float, float]
    retry_on: tuple[type[BaseException], ...] | None = None
    reject_on: tuple[type[BaseException], ...] = ()

    def retries(self, error: BaseException) -> bool:
        """Return whether a message may be run again after this exception."""
        if isinstance(error, self.reject_on):
            return False
        return self.retry_on is None or isinstance(error, (*self.retry_on, Retry))


def backoff_delay(attempt: int, backoff: tuple[float, float]) -> float:
    """Return the seconds to wait after the failed run number `attempt` (the first is 1): any in `backoff_bounds`."""
    return random.uniform(*backoff_bounds(attempt, backoff))  # noqa: S311  jitter, not a secret


def backoff_bounds(attempt: int, backoff: tuple[float, float]) -> tuple[float, float]:
    """Return the least and the most seconds to wait after the failed run number `attempt`."""
    base, cap = backoff
    most = min(cap, base * 2 ** min(attempt - 1, _MOST_DOUBLINGS))
    return most / 2, most


def longest_retry(policy: RetryPolicy, run: float) -> float:
    """Return for how many seconds at most a message comes again by itself, where each run takes up to `run` seconds.

    That is all waits, all runs, and the time in which a database may be unavailable without using up a retry.
    """
    waits = sum(backoff_bounds(attempt, policy.backoff)[1] for attempt in range(1, policy.max_retries + 1))
    return waits + (policy.max_retries + 1) * run + LONGEST_OUTAGE


def judge(
    error: BaseException, attempt: int, policy: RetryPolicy, failure: Failure, outage: float | None = None
) -> Outcome:
    """Return the outcome of a run that raised `error`; `attempt` is the number of that run.

    `outage` is None, unless the error says that a database is unavailable: then it is for how many seconds this
    message's runs have found that. For a day the message uses up no retry, and waits at most as long again as that has
    lasted, and at most a minute. The handler's `retry_on` and `reject_on` come first.
    """
    if isinstance(error, Reject):
        return DeadLetter(Reason.REJECTED, failure)
    if isinstance(error, Retry) and not error.count:
        return RetryLater(_delay(error, attempt, policy), failure, counted=False)
    if not policy.retries(error):
        return DeadLetter(Reason.NOT_RETRIED, failure)
    if outage is not None and outage < LONGEST_OUTAGE:
        base, cap = _OUTAGE_BACKOFF
        delay = backoff_delay(1, (max(base, min(outage, cap)), cap))
        return RetryLater(delay, failure, counted=False, unavailable=True)
    if attempt > policy.max_retries:
        return DeadLetter(Reason.EXHAUSTED, failure)
    return RetryLater(_delay(error, attempt, policy), failure, unavailable=outage is not None)


def _delay(error: BaseException, attempt: int, policy: RetryPolicy) -> float:
    asked = error.delay if isinstance(error, Retry) else None
    return backoff_delay(attempt, policy.backoff) if asked is None else float(min(asked, _LONGEST_DELAY))
