"""The names of what is kept on the server."""

import pytest

from django_redis_streams.keys import StreamKeys, split_token, token


def slot_of(key):
    """What a Redis Cluster hashes of a key: what stands between its first braces, else all of it."""
    start = key.find("{")
    end = key.find("}", start + 1)
    return key[start + 1 : end] if start >= 0 and end > start + 1 else key


ALL = (
    lambda keys: keys.main,
    lambda keys: keys.dlq,
    lambda keys: keys.groups,
    lambda keys: keys.promoter,
    lambda keys: keys.delayed,
    lambda keys: keys.delayed_entries,
    lambda keys: keys.redelivery("billing"),
    lambda keys: keys.redelivery("billing", "high"),
    lambda keys: keys.retry("billing"),
    lambda keys: keys.retry_entries("billing"),
    lambda keys: keys.totals("billing"),
)


@pytest.mark.parametrize("main", ["orders", "staging:orders", "a b", "ordres/é"])
def test_all_keys_of_a_stream_share_a_slot(main):
    """A script may touch any of them on a cluster too."""
    assert {slot_of(key(StreamKeys(main))) for key in ALL} == {main}


def test_no_two_keys_are_the_same():
    """Nothing of a stream lies in another's place, the dead letter queue of another stream included."""
    made = [key(StreamKeys(main)) for main in ("orders", "orders:dlq") for key in ALL]
    assert len(set(made)) == len(made)


def test_names_are_those_of_the_documentation():
    """The names are a contract with dashboards, other clients and older versions."""
    keys = StreamKeys("staging:orders")
    assert [key(keys) for key in ALL] == [
        "staging:orders",
        "{staging:orders}:dlq",
        "{staging:orders}:groups",
        "{staging:orders}:promoter",
        "{staging:orders}:delayed",
        "{staging:orders}:delayed:entries",
        "{staging:orders}:redelivery:billing",
        "{staging:orders}:redelivery:billing:high",
        "{staging:orders}:retry:billing",
        "{staging:orders}:retry:billing:entries",
        "{staging:orders}:totals:billing",
    ]


def test_dead_letter_queue_can_be_renamed():
    """`DEAD_LETTER_STREAM` is the key as it is."""
    assert StreamKeys("orders", "failed-orders").dlq == "failed-orders"


@pytest.mark.parametrize("key", ["orders", "{orders}:redelivery:billing", "with/slash", ""])
def test_token_can_be_split_again(key):
    """A key may hold slashes, an entry id never does."""
    assert split_token(token(key, "1700000000000-12")) == (key, "1700000000000-12")
