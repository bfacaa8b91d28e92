"""The names of what is kept on the server."""

import pytest

from django_redis_streams.keys import LARGEST_PART, EntryId, StreamKeys, is_entry_id, split_label, split_token, token


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
    lambda keys: keys.notices,
    lambda keys: keys.delayed,
    lambda keys: keys.delayed_entries,
    lambda keys: keys.redelivery("billing"),
    lambda keys: keys.redelivery("billing", "high"),
    lambda keys: keys.retry("billing"),
    lambda keys: keys.retry_entries("billing"),
    lambda keys: keys.totals("billing"),
    lambda keys: keys.workers("billing"),
    lambda keys: keys.processes,
    lambda keys: keys.alive("web-1"),
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
        "{staging:orders}:notices",
        "{staging:orders}:delayed",
        "{staging:orders}:delayed:entries",
        "{staging:orders}:redelivery:billing",
        "{staging:orders}:redelivery:billing:high",
        "{staging:orders}:retry:billing",
        "{staging:orders}:retry:billing:entries",
        "{staging:orders}:totals:billing",
        "{staging:orders}:workers:billing",
        "{staging:orders}:processes",
        "{staging:orders}:alive:web-1",
    ]


def test_dead_letter_queue_can_be_renamed():
    """`DEAD_LETTER_STREAM` is the key as it is."""
    assert StreamKeys("orders", "failed-orders").dlq == "failed-orders"


@pytest.mark.parametrize("key", ["orders", "{orders}:redelivery:billing", "with/slash", ""])
def test_token_can_be_split_again(key):
    """A key may hold slashes, an entry id never does."""
    assert split_token(token(key, "1700000000000-12")) == (key, "1700000000000-12")


def test_entry_ids_are_ordered_as_numbers():
    """As text, "9-0" would come after "10-0"; each has the text that the server writes."""
    ids = ["9-0", "10-0", "10-2", "10-10", f"11-{LARGEST_PART}"]
    assert sorted(sorted(ids), key=EntryId.of) == ids
    assert [str(EntryId.of(each)) for each in ids] == ids
    assert EntryId.of("10") == (10, 0)


@pytest.mark.parametrize(("entry_id", "following"), [("0-0", "0-1"), ("5-9", "5-10"), (f"5-{LARGEST_PART}", "6-0")])
def test_an_entry_id_has_neighbours(entry_id, following):
    """Nothing is between an id and the next, also where the second number is as large as it can be."""
    assert str(EntryId.of(entry_id).next) == following
    assert str(EntryId.of(following).previous) == entry_id


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0-0", True), (f"{LARGEST_PART}-{LARGEST_PART}", True), ("5", False), ("05-1", False), ("5-1 ", False),
     ("", False), ("-", False), ("a-1", False), (f"{LARGEST_PART + 1}-0", False), (f"0-{LARGEST_PART + 1}", False),
     ("٣-1", False)],
)  # fmt: skip
def test_only_what_the_server_writes_is_an_entry_id(text, expected):
    """Another text for the same entry would be another key of it."""
    assert is_entry_id(text) is expected


def test_a_label_names_a_stream_and_a_group():
    """Streams' names may hold colons, groups' don't."""
    assert split_label("orders:billing") == ("orders", "billing")
    assert split_label("shop:orders:billing") == ("shop:orders", "billing")
    assert split_label("orders") == ("orders", "")
