"""When a failed run is tried again: the whole decision, without a server."""

import pytest

from django_redis_streams import Reject, Retry
from django_redis_streams.outcomes import DeadLetter, Failure, Reason, RetryLater
from django_redis_streams.retry import RetryPolicy, backoff_delay, judge

FAILURE = Failure(handler="shop.charge", error="it failed")


def policy(**given):
    """Three retries, as a group has by default."""
    return RetryPolicy(**{"max_retries": 3, "backoff": (1.0, 600.0), **given})


@pytest.mark.parametrize(("attempt", "most"), [(1, 1), (2, 2), (3, 4), (10, 512), (11, 600), (5_000, 600)])
def test_backoff_doubles_up_to_its_cap(attempt, most):
    """The delay is anywhere between nothing and base * 2 ** (attempt - 1), never above the cap."""
    delays = [backoff_delay(attempt, (1.0, 600.0)) for _ in range(300)]
    assert 0 <= min(delays) < most * 0.2
    assert most * 0.8 < max(delays) <= most


def test_failed_run_is_retried():
    """An exception of any kind, with retries left, is a retry that counts."""
    outcome = judge(RuntimeError(), 1, policy(), FAILURE)
    assert isinstance(outcome, RetryLater)
    assert outcome.counted
    assert 0 <= outcome.delay <= 1
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
    assert outcome.delay <= 2


def test_retry_counts_by_default():
    """A handler that asks for one retry too many has failed."""
    assert judge(Retry(1), 4, policy(), FAILURE) == DeadLetter(Reason.EXHAUSTED, FAILURE)


def test_uncounted_retry_uses_up_none():
    """`count=False` may be asked for at any attempt."""
    assert judge(Retry(5, count=False), 99, policy(), FAILURE) == RetryLater(5, FAILURE, counted=False)


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
