"""A message as fields of an entry, and back: what is written, what is read, what is refused."""

import json
import re
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy
from hypothesis import example, given
from hypothesis import strategies as st

from django_redis_streams.exceptions import InvalidMessage, PayloadTooLarge
from django_redis_streams.message import new_id
from django_redis_streams.wire import (
    EntryEncoder,
    Origin,
    RedeliveryMetadata,
    Undecodable,
    attach_metadata,
    decode,
    decode_all,
    message_id,
    split_metadata,
)
from testproject.shop.models import Customer

ID = "0190163d-8694-7a9a-8f2b-3c7a5e1d9f00"
ENTRY = "1700000000123-4"
ORIGIN = Origin(stream="orders", group="billing", key="staging:orders")


def encoded(payload, *, format="json", max_payload=1_000_000, **given):  # noqa: A002  the setting's word
    """The fields of a message with this payload."""
    return EntryEncoder(stream="orders", format=format, max_payload=max_payload, **given).fields(ID, payload)


def decoded(*fields, metadata=None):
    """The message that an entry with these fields holds."""
    return decode(ORIGIN, ENTRY, list(fields), metadata)


# Text as an entry gives it: any bytes, those that aren't UTF-8 as surrogates.
foreign_text = st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
proper_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | proper_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(proper_text, inner, max_size=4),
    max_leaves=10,
)
field_lists = st.lists(
    st.tuples(
        st.sampled_from(["id", "type", "data", "time", "key", "headers", "drs", "drs-id", "x"]) | foreign_text,
        foreign_text,
    ),
    max_size=8,
).map(lambda pairs: [text for pair in pairs for text in pair])


# ---------------------------------------------------------------- envelopes


def test_envelope_is_short():
    """Only what is set is written, in as few characters as JSON has."""
    assert encoded({"a": 1, "é": [True]}) == ["id", ID, "data", '{"a":1,"é":[true]}']


def test_envelope_has_all_that_is_set():
    """Names are those of CloudEvents where it has one."""
    assert encoded(None, type="order.paid", key="c-7", headers={"trace": 1}) == [
        "id", ID, "type", "order.paid", "data", "null", "key", "c-7", "headers", '{"trace":1}',
    ]  # fmt: skip


@given(json_values, proper_text, st.none() | proper_text, st.dictionaries(proper_text, json_values, max_size=3))
def test_what_is_published_arrives(payload, type, key, headers):  # noqa: A002  the message's word
    """Any JSON value, type, key and headers come back equal."""
    message = decoded(*encoded(payload, type=type, key=key, headers=headers))
    assert (message.payload, message.type, message.key, message.headers) == (payload, type, key, headers)
    assert message.id == ID


def test_django_values_arrive_as_text():
    """What JSON has no type for is written as `DjangoJSONEncoder` writes it; a time loses its microseconds."""
    payload = {
        "total": Decimal("99.90"),
        "at": datetime(1997, 1, 1, 12, 30, 15, 123_456, UTC),
        "on": date(1997, 1, 1),
        "after": timedelta(hours=1),
        "id": UUID(ID),
        "label": gettext_lazy("Order"),
    }
    assert decoded(*encoded(payload)).payload == {
        "total": "99.90",
        "at": "1997-01-01T12:30:15.123Z",
        "on": "1997-01-01",
        "after": "P0DT01H00M00S",
        "id": ID,
        "label": "Order",
    }


def test_message_of_a_handler_knows_where_it_is_from():
    """Beside what was published it tells stream, group, entry and the number of the run."""
    message = decoded(*encoded(1))
    assert (message.stream, message.group, message.lane) == ("orders", "billing", "default")
    assert (message.entry_id, message.attempt) == (ENTRY, 1)
    assert message.time == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)


class Endless:
    """A list that holds itself, when looked into."""

    def __init__(self):
        self.inner = []
        self.inner.append(self.inner)


@pytest.mark.parametrize(
    "payload",
    [
        {"at": object()},
        {1, 2},
        b"bytes",
        {("a", "b"): 1},
        float("nan"),
        [float("inf")],
        Endless().inner,
        {"half": "\ud800"},
        {"\udcff": 1},
        10**5000,
        datetime(1997, 1, 1, tzinfo=UTC).timetz(),
    ],
    ids=lambda payload: type(payload).__name__,
)
def test_what_json_cannot_hold_is_refused(payload):
    """A payload that would arrive changed, or not at all, is an error of the call."""
    with pytest.raises(InvalidMessage, match="payload"):
        encoded(payload)


def test_a_list_that_holds_itself_is_named_as_that():
    """The error says what is wrong with the payload, and harms no later one."""
    with pytest.raises(InvalidMessage, match=r"payload=.*Circular reference detected"):
        encoded(Endless().inner)
    assert encoded([[]])[-1] == "[[]]"


class Text(str):
    """Text that a dict takes for another key than the same text."""

    __slots__ = ()

    def __eq__(self, other):
        return self is other

    __hash__ = object.__hash__


class Number(IntEnum):
    """An int by a name."""

    ONE = 1


def fails():
    """What a lazy text may do when it's asked for."""
    raise LookupError("no such translation")


raising = lazy(fails, str)()


class Unshowable:
    """Something without a repr."""

    def __repr__(self):
        raise RuntimeError


class Failing(dict):
    """A dict that can't be read."""

    def items(self):
        """Fails."""
        raise KeyError("gone")


def deep(inner, depth):
    """`inner` in that many lists."""
    for _ in range(depth):
        inner = [inner]
    return inner


NO_NUMBER = "JSON has neither NaN nor infinity. Publish None instead"
UNWRITABLE = {
    "Decimal NaN": ({"a": [{"total": Decimal("NaN")}]}, f"payload['a'][0]['total']=Decimal('NaN'): {NO_NUMBER}"),
    "Decimal sNaN": (Decimal("sNaN"), f"payload=Decimal('sNaN'): {NO_NUMBER}"),
    "Decimal infinity": ((1, Decimal("-Infinity")), f"payload[1]=Decimal('-Infinity'): {NO_NUMBER}"),
    "float NaN": ({"a": {"b": float("nan")}}, f"payload['a']['b']=nan: {NO_NUMBER}"),
    "infinity as a key": ({"a": {float("inf"): 1}}, "payload['a']={inf: 1}: expected a JSON value"),
    "an object": ([1, {"a": Unshowable()}], "payload[1]['a']=<Unshowable"),
    "a set": ({"a": {"b": {1}}}, "payload['a']['b']={1}: expected a JSON value"),
    "a generator": ({"a": (n for n in "ab")}, "payload['a']=<generator"),
    "a key of two": ({"a": {(1, 2): 3}}, "payload['a']={(1, 2): 3}: expected a JSON value"),
    "an aware time": ({"a": datetime(1997, 1, 1, tzinfo=UTC).timetz()}, "payload['a']=datetime.time(0, 0, tzinfo="),
    "half a character": ({"a": ["b", "\ud800"]}, "payload['a'][1]='\\ud800': holds '\\ud800', half a character"),
    "half a character as a key": ([{"\udcff": 1}], "payload[0]={'\\udcff': 1}: holds '\\udcff', half a character"),
    "an int of too many digits": ({"a": [10**5000]}, "payload['a'][0]=<int>: expected a JSON value"),
    "a lazy text that raises": ({"a": raising}, "payload['a']=<"),
    "a dict that can't be read": ([Failing(a=1)], "payload[0]="),
    "too deep": (deep(1, 200_000), "payload=[[[[[...]]]]]: expected a JSON value"),
    "deep down": (deep(Decimal("NaN"), 500), "[0][0][…][0][0]"),
}


@dataclass
class _Total:
    amount: int


INSTEAD = {
    "a model": (Customer(number=1), "Publish its .pk, or the fields"),
    "a query": (Customer.objects.filter(number=1), "Publish list(…) of it."),
    "a set": ({1}, "Publish list(…) of it."),
    "a generator": ((n for n in "ab"), "Publish list(…) of it."),
    "a dataclass": (_Total(1), "Publish its dataclasses.asdict(…)."),
    "bytes": (b"\xff", "Publish its .decode(), or base64"),
    "what pydantic makes": (SimpleNamespace(model_dump=dict), "Publish its .model_dump(mode='json')."),
}


@pytest.mark.parametrize(("part", "instead"), INSTEAD.values(), ids=INSTEAD)
def test_the_error_says_what_to_publish_instead(part, instead):
    """Of the types that are published most often by mistake."""
    with pytest.raises(InvalidMessage) as raised:
        encoded({"a": [part]})
    assert str(raised.value).startswith("payload['a'][0]=")
    assert str(raised.value).partition(" is not JSON serializable. ")[2].startswith(instead)


@pytest.mark.parametrize(("payload", "said"), UNWRITABLE.values(), ids=UNWRITABLE)
def test_the_error_names_what_cannot_be_written_and_where(payload, said):
    """Whatever is wrong is an `InvalidMessage` with the path to it, however deep it is and whatever it raises."""
    with pytest.raises(InvalidMessage) as raised:
        encoded(payload)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize(
    "value",
    [Decimal("NaN"), Decimal("Infinity"), float("nan"), raising, 10**5000, Unshowable()],
    ids=lambda value: type(value).__name__,
)
def test_flat_names_what_cannot_be_written(value):
    """The same for the fields of a flat entry."""
    with pytest.raises(InvalidMessage, match=re.escape("payload['a']=")):
        encoded({"a": value}, format="flat")


def test_decimals_that_are_numbers_are_written():
    """In as many digits as they have."""
    assert encoded([Decimal("1.50"), Decimal("-0"), Decimal("1E+9")])[-1] == '["1.50","-0","1E+9"]'


MERGED = {
    "an int and its text": ({1: "a", "1": "b"}, "payload has the keys 1 and '1', which JSON writes alike"),
    "None": ({"null": 0, None: 1}, "payload has the keys 'null' and None"),
    "True": ({"a": {True: 0, "true": 1}}, "payload['a'] has the keys True and 'true'"),
    "False": ([{}, {"false": 1, False: 0}], "payload[1] has the keys 'false' and False"),
    "a float": ({"a": ({"b": {1.5: 0, "1.5": 1}},)}, "payload['a'][0]['b'] has the keys 1.5 and '1.5'"),
    "a large float": ({1e300: 0, "1e+300": 1}, "has the keys 1e+300 and '1e+300'"),
    "a negative": ({"x": 0, -1: 0, "y": 0, "-1": 1}, "has the keys -1 and '-1'"),
    "an enum": ({Number.ONE: 0, "1": 1}, "has the keys <Number.ONE: 1> and '1'"),
    "a class of dict": (OrderedDict([(1, 0), ("1", 1)]), "has the keys 1 and '1'"),
    "after many others": ({**{str(n): n for n in range(1000)}, 7: 0}, "has the keys '7' and 7"),
}


@pytest.mark.parametrize(("payload", "said"), MERGED.values(), ids=MERGED)
def test_keys_that_json_would_make_one_are_refused(payload, said):
    """One of the two values would be lost in silence."""
    with pytest.raises(InvalidMessage) as raised:
        encoded(payload)
    assert said in str(raised.value)


@pytest.mark.parametrize("format", ["json", "flat"])
@pytest.mark.parametrize("payload", [QueryDict("a=1&a=2"), MultiValueDict({"a": [1]})])
def test_a_dict_of_several_values_for_a_key_is_refused(payload, format):  # noqa: A002  the setting's word
    """Of each key it tells the last value alone; the error says what to write instead."""
    with pytest.raises(InvalidMessage, match=r"payload=.*: holds a list of values .*\.dict\(\).*\.lists\(\)"):
        encoded(payload, format=format)
    assert decoded(*encoded(payload.dict(), format=format)).payload["a"] is not None
    if format == "json":
        with pytest.raises(InvalidMessage, match=r"payload\['form'\]\[1\]=.*: holds a list of values"):
            encoded({"form": [Decimal(1), payload]})
        with pytest.raises(InvalidMessage, match=r"headers=.*: holds a list of values"):
            encoded({}, headers=payload)
        with pytest.raises(InvalidMessage, match=r"headers\['a'\]=.*: holds a list of values"):
            encoded({}, headers={"a": payload})
        assert decoded(*encoded(dict(payload.lists()))).payload == dict(payload.lists())


class Repeating(dict):
    """Says a key twice."""

    def items(self):
        """A pair too many."""
        return [("a", 1), ("a", 2)]


class Odd(str):
    """A text that is no other, whatever it says."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize("payload", [Repeating(a=1), {Odd("a"): 1, Odd("a"): 2}, {Odd("a"): 1, "a": 2}])
def test_keys_that_are_the_same_text_are_refused_whatever_they_are_to_python(payload):
    """At the top, nested, and as fields: one of the two values would be lost."""
    for place, wrong in (("payload", payload), (r"payload\['x'\]\[0\]", {"x": [payload]})):
        with pytest.raises(InvalidMessage, match=rf"^{place} has the keys 'a' and 'a', which JSON writes alike"):
            encoded(wrong)
    with pytest.raises(InvalidMessage, match="has the keys 'a' and 'a'"):
        encoded(payload, format="flat")
    with pytest.raises(InvalidMessage, match="has the keys 'a' and 'a'"):
        encoded({}, headers={"x": payload})


def test_a_decimal_of_a_class_of_its_own_is_written_as_its_number():
    """Whatever it calls itself; and one that is no number is refused, whatever it says."""

    class Money(Decimal):
        def __str__(self):
            return "NaN"

        def is_finite(self):
            return True

    assert decoded(*encoded([Money("1.50")])).payload == ["1.50"]
    assert decoded(*encoded({"a": Money("1.50")}, format="flat")).payload == {"a": "1.50"}
    with pytest.raises(InvalidMessage, match="neither NaN nor infinity"):
        encoded([Money("NaN")])


@pytest.mark.parametrize(
    "payload",
    [
        {1: 0, 2: 1, "3": 2, None: 3, "None": 4, False: 5, "False": 6, 0.5: 7, "0.50": 8},
        [{1: 0}, {"1": 1}, {"1": {1: {"1": 0}}}],
        {"1": '{"1":0,"1":1}', 2: '"2":"2":'},
    ],
)
def test_keys_that_stay_different_are_written(payload):
    """A key that isn't text is written as JSON's text for it, and nothing else is refused for that."""
    count = len(payload)
    assert len(json.loads(encoded(payload)[-1])) == count


def test_flat_takes_no_text_twice():
    """Two keys of one text would be two fields of one name."""
    with pytest.raises(InvalidMessage, match="payload has the keys 'a' and 'a'"):
        encoded({Text("a"): 1, "a": 2}, format="flat")
    with pytest.raises(InvalidMessage, match="fields that FORMAT 'flat' sets itself"):
        encoded({Text("drs-id"): 1}, format="flat")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"type": 5}, "type=5: expected text"),
        ({"type": "x" * 1_001}, "x'… has 1,001 characters: expected at most 1,000"),
        ({"key": 5}, "key=5: expected text"),
        ({"type": "\ud800"}, "type holds '\\ud800', half a character"),
        ({"key": "\udcff"}, "key holds"),
        ({"headers": {"a": object()}}, "headers['a']=<object object at"),
        ({"headers": {"a": {"b": Decimal("NaN")}}}, "headers['a']['b']=Decimal('NaN'): JSON has neither NaN"),
        ({"headers": {"a": [{1: "x", "1": "y"}]}}, "headers['a'][0] has the keys 1 and '1'"),
        ({"headers": {"a": raising}}, "headers['a']"),
        ({"type": 10**5000}, "type=<int>: expected text"),
    ],
)
def test_what_cannot_be_a_field_is_refused(given, said):
    """The same for all else that travels along."""
    with pytest.raises(InvalidMessage) as raised:
        encoded({}, **given)
    assert said in str(raised.value)


def test_size_is_that_of_all_fields_in_bytes():
    """`MAX_PAYLOAD` is compared with what the server would store, in UTF-8."""
    size = len("id") + len(ID) + len("data") + len('"éé"'.encode())
    assert encoded("éé", max_payload=size)
    with pytest.raises(PayloadTooLarge, match=f"takes {size} bytes, above MAX_PAYLOAD of stream 'orders'"):
        encoded("éé", max_payload=size - 1)


# ---------------------------------------------------------------- flat


def test_flat_has_the_payloads_own_keys():
    """A consumer that knows nothing of us reads fields, values as in JSON but text as it is."""
    fields = encoded(
        {"order_id": "ord_123", "total": Decimal("99.99"), "cds": 3, "gift": False, "note": None},
        format="flat",
        type="order.paid",
    )
    assert fields == [
        "drs-id", ID, "type", "order.paid",
        "order_id", "ord_123", "total", "99.99", "cds", "3", "gift", "false", "note", "null",
    ]  # fmt: skip


def test_flat_comes_back_as_text():
    """Our id is the message's and no part of its payload; the type selects handlers and stays in it."""
    message = decoded(*encoded({"cds": 3}, format="flat", type="order.paid"))
    assert (message.id, message.type) == (ID, "order.paid")
    assert message.payload == {"type": "order.paid", "cds": "3"}


@given(st.dictionaries(proper_text, proper_text, min_size=1, max_size=5))
def test_flat_text_arrives_as_it_is(payload):
    """Quotes, line breaks and what looks like JSON aren't touched."""
    if {"drs-id"} & set(payload):
        return
    assert decoded(*encoded(payload, format="flat")).payload == payload


@pytest.mark.parametrize(
    ("payload", "given", "said"),
    [
        ([1], {}, "takes a mapping with at least one key"),
        ({}, {}, "takes a mapping with at least one key"),
        ({"a": {"b": 1}}, {}, "takes no nested values"),
        ({"a": [1]}, {}, "takes no nested values"),
        ({"a": (1,)}, {}, "takes no nested values"),
        ({"a": float("nan")}, {}, "payload['a']"),
        ({1: 1}, {}, "key 1 is not text"),
        ({"drs-id": "x"}, {}, "['drs-id'] are fields that FORMAT 'flat' sets itself"),
        ({"type": "x"}, {"type": "order"}, "['type'] are fields"),
        ({"a": 1}, {"key": "k"}, "no field for key= and headers="),
        ({"a": 1}, {"headers": {"h": 1}}, "no field for key= and headers="),
        ({"a": "\ud800"}, {}, "half a character"),
        ({"\ud800": "a"}, {}, "half a character"),
    ],
)
def test_what_flat_cannot_hold_is_refused(payload, given, said):
    """Fields are text: what can't be told apart in them is an error of the call."""
    with pytest.raises(InvalidMessage) as raised:
        encoded(payload, format="flat", **given)
    assert said in str(raised.value)


def test_type_in_a_flat_payload_is_the_type():
    """Without `type=` the payload's own selects handlers, as any foreign entry's does."""
    assert decoded(*encoded({"type": "order.paid"}, format="flat")).type == "order.paid"


# ---------------------------------------------------------------- foreign entries


def test_foreign_entry_is_its_fields():
    """What another program wrote is a message: its payload all fields, as text."""
    message = decoded("order_id", "ord_123", "total", "99.99")
    assert message.payload == {"order_id": "ord_123", "total": "99.99"}
    assert (message.type, message.key, message.headers) == ("", None, {})
    assert message.id == f"staging:orders/{ENTRY}"


def test_type_of_a_foreign_entry_selects_handlers():
    """A field `type` is taken for the type, and stays in the payload."""
    message = decoded("type", "order.paid", "total", "1")
    assert (message.type, message.payload) == ("order.paid", {"type": "order.paid", "total": "1"})


def test_id_of_a_foreign_entry_is_no_message_id():
    """An order's number or id must never pass for the message's: handlers are idempotent by that."""
    for foreign in (
        ["id", "5", "data", "{}"],
        ["id", ID, "total", "1"],
        ["drs-id", "5", "a", "b"],
        ["a", "b", "drs-id", ID],
    ):
        assert decoded(*foreign).id == f"staging:orders/{ENTRY}"


def test_bytes_that_are_no_text_are_shown():
    """A payload is always proper text: what isn't UTF-8 becomes U+FFFD."""
    assert decoded("na\udcffme", "\udce9t\udce9").payload == {"na\ufffdme": "\ufffdt\ufffd"}


def test_envelope_may_come_from_anybody():
    """Another client that keeps to the few names gets type, key, headers and time across, with or without id."""
    fields = ["data", "[1]", "type", "t", "key", "k", "headers", '{"a":"b"}', "time", "1997-01-01T02:00:00+02:00"]
    message = decoded(*fields)
    assert (message.payload, message.type, message.key, message.headers) == ([1], "t", "k", {"a": "b"})
    assert message.time == datetime(1997, 1, 1, tzinfo=UTC)
    assert message.id == f"staging:orders/{ENTRY}"
    assert decoded("id", ID, *fields).id == ID


def test_time_without_an_offset_is_utc():
    """As everywhere else in a message."""
    assert decoded("data", "1", "time", "1997-01-01T00:00:00").time == datetime(1997, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "fields",
    [
        ["data", "{"],
        ["data", "{}", "headers", "[]"],
        ["data", "{}", "time", "yesterday"],
        ["data", "NaN"],
        ["data", ""],
        ["data", "\udcff"],
        ["data", "[" * 100_000],
        ["data", "1" * 5_000],
        ["data", "1", "time", "0001-01-01T00:00:00+14:00"],
    ],
)
def test_broken_envelope_is_undecodable_only_if_it_says_it_is_one(fields):
    """With one of our ids it is a dead letter; without, it is somebody else's fields that happen to be called so."""
    with pytest.raises(Undecodable):
        decoded("id", ID, *fields)
    foreign = decoded(*fields)
    assert set(foreign.payload) == set(fields[::2])


@pytest.mark.parametrize("fields", [["data", "{}", "data", "{}"], ["data", "1", "extra", "x"], ["type", "t"], []])
def test_what_is_not_just_an_envelope_is_foreign(fields):
    """A field too many, a field twice, or no data: all of it is the payload."""
    assert decoded(*fields).payload == dict(zip(fields[::2], fields[1::2], strict=True))


@given(field_lists)
def test_nothing_that_arrives_stops_the_worker(fields):
    """Any fields give a message or `Undecodable`, and in both cases one id and proper text."""
    identity = message_id(ORIGIN.key, ENTRY, fields)
    try:
        message = decoded(*fields)
    except Undecodable as error:
        str(error).encode()
        return
    assert message.id == identity
    repr(message).encode()
    json.dumps(message.payload, ensure_ascii=False).encode()


# ---------------------------------------------------------------- carried entries


@given(field_lists, proper_text, st.integers(0, 100))
def test_what_is_carried_is_unharmed(fields, error, attempt):
    """Metadata and the original fields come back: same order, same bytes, duplicates too."""
    metadata = RedeliveryMetadata(id=ID, source="orders", entry=ENTRY, error=error, attempt=attempt)
    assert split_metadata(attach_metadata(metadata, fields)) == (metadata, fields)


def test_carried_entry_is_one_field_more():
    """Metadata that isn't set isn't written; the original fields follow for everybody to read."""
    name, metadata, *fields = attach_metadata(
        RedeliveryMetadata(id=ID, source="orders", entry=ENTRY, attempt=2), ["total", "1"]
    )
    assert (name, fields) == ("drs", ["total", "1"])
    assert json.loads(metadata) == {"id": ID, "source": "orders", "entry": ENTRY, "attempt": 2}


def test_long_entry_is_folded():
    """A script can't hand more than some 8,000 values to one command: longer lists travel as one."""
    fields = [str(number) for number in range(20_000)]
    metadata = RedeliveryMetadata(id=ID, source="orders", entry=ENTRY)
    assert len(attach_metadata(metadata, fields)) == 4
    assert split_metadata(attach_metadata(metadata, fields)) == (metadata, fields)


def test_field_of_ours_in_a_foreign_entry_is_a_field():
    """Somebody's own field `drs-folded` comes back as it was, and isn't opened."""
    metadata = RedeliveryMetadata(id=ID, source="orders", entry=ENTRY)
    assert split_metadata(attach_metadata(metadata, ["drs-folded", "x"])) == (metadata, ["drs-folded", "x"])


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["a", "b"],
        ["drs", "{"],
        ["drs", "[]"],
        ["drs", "{}"],
        ["drs", '{"id":"x"}'],
        ["drs", "[" * 100_000],
    ],
)
def test_what_is_not_ours_is_not_uncarried(fields):
    """Anybody may write to a dead letter queue: what isn't one of ours is told apart, not a crash."""
    assert split_metadata(fields) is None


def test_metadata_of_a_later_version_is_left_out():
    """Names and types that this version doesn't know do no harm: a rolling deploy goes both ways."""
    fields = ["drs", f'{{"id":"{ID}","source":"orders","entry":"{ENTRY}","mood":"good","attempt":"two"}}', "a", "b"]
    assert split_metadata(fields) == (RedeliveryMetadata(id=ID, source="orders", entry=ENTRY), ["a", "b"])


@pytest.mark.parametrize("identity", [ID, ID.upper()])
def test_a_uuid_is_a_message_id_in_letters_of_either_case(identity):
    """Other clients may write their UUIDs in capitals."""
    assert decoded("id", identity, "data", "1").id == identity
    assert decoded("id", identity, "type", "x", "data", "1").id == identity


@pytest.mark.parametrize(
    "identity",
    ["", ID[:-1], ID + "0", ID + "\n", ID.replace("-", ""), ID.replace("0", "g"), ID.replace("0", "?"),
     ID.replace("-", "0"), ID.replace("1", "\N{FULLWIDTH DIGIT ONE}"), "-" + ID[1:], ID.replace("0", "\udc80")],
)  # fmt: skip
def test_what_only_resembles_a_uuid_is_no_message_id(identity):
    """Such an entry is a foreign one, whatever else it holds."""
    assert decoded("id", identity, "data", "1").id == f"staging:orders/{ENTRY}"
    assert decoded("id", identity, "type", "x", "data", "1").id == f"staging:orders/{ENTRY}"


def told(message):
    """All that a message says, or the error in its place."""
    if isinstance(message, Undecodable):
        return str(message)
    names = ("id", "stream", "payload", "type", "key", "headers", "time", "group", "lane", "attempt", "entry_id")
    return [repr(getattr(message, name)) for name in names]


identities = st.sampled_from([ID, ID.upper(), ID[:-1], "7", ""])
whole = st.sampled_from(["1", "{}", ' {"a": 1} ', '"\u00e9"', '"' + "x" * 1_000_000 + '"'])
broken = st.sampled_from(["NaN", "[", "1x", "", " ", '"\udcff"', "[" * 100_000])
# Whole only where its neighbours are taken for a part of it.
borrowing = st.sampled_from(["[1", "2]", "1,2", "1,2,3", "[1],", '"1', '2"', '{"a":1', '"a":1}', "1],[1"])
texts = whole | broken | borrowing
envelopes = st.builds(lambda identity, text: ["id", identity, "data", text], identities, texts) | st.builds(
    lambda identity, kind, text: ["id", identity, "type", kind, "data", text], identities, foreign_text, texts
)


@example([(["id", ID, "type", "\udcff", "data", "1"], False)] * 2)
@example([(["id", ID, "data", '"\udcff"'], False)] * 2)
@given(st.lists(st.tuples(st.just([]) | field_lists | envelopes, st.booleans()), max_size=5))
def test_messages_that_are_decoded_together_are_those_that_each_entry_holds(entries):
    """The short way of a batch has no say in what a message is, whatever the others hold, and however little."""
    metadata = RedeliveryMetadata(id=ID, source="staging:orders", entry=ENTRY, attempt=1)
    batch = [
        SimpleNamespace(
            origin=ORIGIN, entry_id=ENTRY, published_id=ENTRY, fields=fields, metadata=metadata if redelivered else None
        )
        for fields, redelivered in entries
    ]
    each_alone = []
    for fields, redelivered in entries:
        try:
            each_alone.append(told(decoded(*fields, metadata=metadata if redelivered else None)))
        except Undecodable as error:
            each_alone.append(told(error))
    assert [told(each) for each in decode_all(batch)] == each_alone


@pytest.mark.parametrize("borrowed", [("[1", "2]", "1,2,3"), ("1,2", '"x', 'x"', "1,2"), ("1", "1],[1"), ("1]", "[1")])
def test_no_payload_borrows_from_its_neighbours(borrowed):
    """Together they would be as many values as there are messages; each alone is none, or more than one."""
    batch = [
        SimpleNamespace(
            origin=ORIGIN, entry_id=ENTRY, published_id=ENTRY, fields=["id", ID, "data", text], metadata=None
        )
        for text in borrowed
    ]
    alone = [text == "1" for text in borrowed]
    assert [not isinstance(each, Undecodable) for each in decode_all(batch)] == alone


def test_redelivered_message_keeps_its_identity():
    """A retry has the id of the first run and the number of the next, whatever entry carries it."""
    metadata = RedeliveryMetadata(id=f"staging:orders/{ENTRY}", source="staging:orders", entry=ENTRY, attempt=2)
    message = decoded("total", "1", metadata=metadata)
    assert (message.id, message.attempt, message.payload) == (f"staging:orders/{ENTRY}", 3, {"total": "1"})


def test_new_ids_are_taken_for_ids():
    """What `publish()` gives is recognised as such on the other side."""
    identity = new_id()
    assert message_id("orders", ENTRY, ["id", identity, "data", "1"]) == identity


@pytest.mark.parametrize(
    "other",
    ["None", "lambda _: None", "lambda *_: lambda *_: ['another']"],
    ids=["none", "of other arguments", "of another result"],
)
def test_another_encoder_of_python_s_is_done_without(other: str) -> None:
    """The one in C is no public part: where it is another while the package is imported, `encode` is asked."""
    program = f"""
import json.encoder
import django.core.serializers.json
json.encoder.c_make_encoder = {other}
json.JSONEncoder.encode = lambda self, value: "by encode"
from django_redis_streams.wire import EntryEncoder
print(EntryEncoder(stream="orders", max_payload=99).fields("1", {{"ü": [1.5, None]}})[-1])
"""
    done = subprocess.run([sys.executable, "-X", "utf8", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "by encode\n"
