"""When a failed run is tried again: the whole decision, without a server."""

from itertools import accumulate

import pytest

from django_redis_streams import Reject, Retry
from django_redis_streams.conf import GroupConfig
from django_redis_streams.outcomes import DeadLetter, Failure, Reason, RetryLater
from django_redis_streams.retry import RetryPolicy, backoff_bounds, backoff_delay, judge

from .support.documents import page

FAILURE = Failure(handler="shop.charge", error="it failed")


def policy(**given):
    """Three retries."""
    return RetryPolicy(**{"max_retries": 3, "backoff": (1.0, 600.0), **given})


@pytest.mark.parametrize(("attempt", "most"), [(1, 1), (2, 2), (3, 4), (10, 512), (11, 600), (5_000, 600)])
def test_backoff_doubles_up_to_its_cap(attempt, most):
    """The delay is at least half of base * 2 ** (attempt - 1), and all of it at most; never above the cap."""
    delays = [backoff_delay(attempt, (1.0, 600.0)) for _ in range(300)]
    assert most * 0.5 <= min(delays) < most * 0.6
    assert most * 0.9 < max(delays) <= most


def test_the_default_retries_outlast_ten_minutes():
    """A message that fails at once each time is no dead letter for the first ten minutes, however the jitter falls."""
    group = GroupConfig(name="billing")
    least = [backoff_bounds(attempt, group.backoff)[0] for attempt in range(1, group.max_retries + 1)]
    assert sum(least) > 600


def test_the_waits_are_those_of_the_documents():
    """The page reckons with the defaults: each wait, and how long it is since the first run."""
    group = GroupConfig(name="billing")
    bounds = [backoff_bounds(attempt, group.backoff) for attempt in range(1, group.max_retries + 1)]
    sums = zip(*(accumulate(each) for each in zip(*bounds, strict=True)), strict=True)
    told = [[text.split(" to ") for text in row[1:]] for row in page("docs/handlers.md").table("Retries")]
    assert told == [[[f"{each:g}" for each in pair] for pair in row] for row in zip(bounds, sums, strict=True)]


def test_failed_run_is_retried():
    """An exception of any kind, with retries left, is a retry that counts."""
    outcome = judge(RuntimeError(), 1, policy(), FAILURE)
    assert isinstance(outcome, RetryLater)
    assert outcome.counted
    assert 0.5 <= outcome.delay <= 1
    assert outcome.failure is FAILURE


@pytest.mark.parametrize(("attempt", "retried"), [(1, True), (3, True), (4, False), (9, False)])
def test_three_retries_are_four_runs(attempt, retried):
    """The run after the last retry is the last."""
    outcome = judge(RuntimeError(), attempt, policy(), FAILURE)
    assert isinstance(outcome, RetryLater) is retried
    if not retried:
        assert outcome == DeadLetter(Reason.EXHAUSTED, FAILURE)


def test_no_retries_is_one_run():
    """With `max_retries=0` the first failure is the last."""
    assert judge(RuntimeError(), 1, policy(max_retries=0), FAILURE) == DeadLetter(Reason.EXHAUSTED, FAILURE)


def test_reject_is_never_retried():
    """`Reject` is the handler's own verdict, whatever the policy says."""
    verdict = policy(retry_on=(Reject,))
    assert judge(Reject("no"), 1, verdict, FAILURE) == DeadLetter(Reason.REJECTED, FAILURE)


def test_retry_says_when():
    """The delay that a handler asks for is taken as it is, without jitter."""
    assert judge(Retry(30), 1, policy(), FAILURE) == RetryLater(30, FAILURE)


def test_retry_without_a_delay_backs_off():
    """Without a delay the group's backoff decides."""
    outcome = judge(Retry(), 2, policy(), FAILURE)
    assert isinstance(outcome, RetryLater)
    assert 1 <= outcome.delay <= 2


def test_retry_counts_by_default():
    """A handler that asks for one retry too many has failed."""
    assert judge(Retry(1), 4, policy(), FAILURE) == DeadLetter(Reason.EXHAUSTED, FAILURE)


def test_uncounted_retry_uses_up_none():
    """`count=False` may be asked for at any attempt."""
    assert judge(Retry(5, count=False), 99, policy(), FAILURE) == RetryLater(5, FAILURE, counted=False)


@pytest.mark.parametrize(
    ("outage", "least", "most"), [(0, 0.5, 1), (1, 0.5, 1), (20, 10, 20), (3_600, 30, 60), (86_399, 30, 60)]
)
def test_a_database_that_is_away_uses_up_no_retry_for_a_day(outage, least, most):
    """The wait grows with how long it has been so, up to a minute, with half of it fixed."""
    for _ in range(50):
        outcome = judge(RuntimeError(), 99, policy(max_retries=0), FAILURE, outage)
        assert isinstance(outcome, RetryLater)
        assert (outcome.counted, outcome.unavailable) == (False, True)
        assert least <= outcome.delay <= most


def test_after_a_day_an_outage_counts_as_any_failure():
    """A message isn't retried for ever: it waits by the backoff of its group, and may become a dead letter."""
    outcome = judge(RuntimeError(), 1, policy(), FAILURE, 86_400)
    assert isinstance(outcome, RetryLater)
    assert (outcome.counted, outcome.unavailable) == (True, True)
    assert judge(RuntimeError(), 4, policy(), FAILURE, 86_400) == DeadLetter(Reason.EXHAUSTED, FAILURE)


def test_what_a_handler_says_of_an_exception_comes_before_an_outage():
    """`reject_on` and `retry_on` are the handler's own words."""
    for chosen in (policy(reject_on=(OSError,)), policy(retry_on=(KeyError,))):
        assert judge(OSError(), 1, chosen, FAILURE, 0.0) == DeadLetter(Reason.NOT_RETRIED, FAILURE)
    assert isinstance(judge(OSError(), 9, policy(retry_on=(OSError,)), FAILURE, 0.0), RetryLater)


def test_only_named_exceptions_are_retried():
    """With `retry_on`, any other exception is a dead letter at once; subclasses count as named."""
    chosen = policy(retry_on=(OSError,))
    assert isinstance(judge(ConnectionError(), 1, chosen, FAILURE), RetryLater)
    assert judge(ValueError(), 1, chosen, FAILURE) == DeadLetter(Reason.NOT_RETRIED, FAILURE)


def test_retry_is_retried_whatever_is_named():
    """`Retry` is the handler's own wish: `retry_on` doesn't forget it."""
    assert isinstance(judge(Retry(1), 1, policy(retry_on=(OSError,)), FAILURE), RetryLater)


def test_reject_on_wins():
    """An exception in both is a dead letter."""
    chosen = policy(retry_on=(OSError,), reject_on=(FileNotFoundError,))
    assert judge(FileNotFoundError(), 1, chosen, FAILURE) == DeadLetter(Reason.NOT_RETRIED, FAILURE)
    assert isinstance(judge(ConnectionError(), 1, chosen, FAILURE), RetryLater)
