"""`REDIS_STREAMS`: what it parses to, and what is said of each mistake in it."""

import re
from datetime import timedelta

import pytest

from django_redis_streams import conf
from django_redis_streams.exceptions import ConfigurationError, UnknownStream


@pytest.fixture
def declare(settings):
    """Sets `REDIS_STREAMS` to one connection and these streams, or to whatever is given by level."""

    def set_to(streams=None, **top):
        settings.REDIS_STREAMS = {
            "CONNECTIONS": {"default": {"URL": "redis://localhost"}},
            "STREAMS": streams or {},
            **top,
        }

    return set_to


def problems():
    """What is wrong, as (id, text)."""
    return [(problem.id, problem.sentence) for problem in conf.problems()]


@pytest.mark.parametrize("raw", [None, {}])
def test_nothing_is_nothing(settings, raw):
    """A project without the setting has no streams, and no error."""
    settings.REDIS_STREAMS = raw
    assert conf.get().streams == {}
    assert conf.problems() == ()


def test_defaults_of_a_stream(declare):
    """A stream that is only named isn't trimmed and has no groups."""
    declare({"orders": {}})
    stream = conf.stream("orders")
    assert (stream.connection, stream.groups, stream.models) == ("default", {}, ())
    assert (stream.maxlen, stream.max_age, stream.exact_trim) == (None, None, False)
    assert (stream.max_payload, stream.format) == (1024 * 1024, "json")
    assert stream.keys.main == "orders"


def test_defaults_of_a_group(declare):
    """A group that is only named begins at the beginning, and retries ten times."""
    declare({"orders": {"GROUPS": {"billing": {}}}})
    group = conf.group("orders", "billing")
    assert (group.start, group.max_retries, group.backoff) == ("0", 10, (2.0, 600.0))
    assert (group.claim_idle, group.timeout, group.max_crashes, group.batch_size) == (60.0, 600.0, 2, 100)
    assert group.async_concurrency == 100
    assert (group.unmatched, group.unmatched_given) == ("dead-letter", False)


def test_what_is_given_is_taken(declare):
    """Each key of each level arrives, a duration as seconds whatever it was given as."""
    declare(
        {
            "orders": {
                "MAXLEN": 10_000,
                "MAX_AGE": timedelta(days=7),
                "EXACT_TRIM": True,
                "DEAD_LETTER_STREAM": "failed",
                "MAX_PAYLOAD": 1000,
                "FORMAT": "flat",
                "MODELS": {"shop.Order": {"ON": ["created"], "FIELDS": ["id"], "TYPE": "order"}},
                "GROUPS": {
                    "billing": {
                        "START": "$",
                        "MAX_RETRIES": 0,
                        "BACKOFF": [timedelta(seconds=2), 3.5],
                        "CLAIM_IDLE": 5,
                        "TIMEOUT": timedelta(minutes=1),
                        "MAX_CRASHES": 1,
                        "BATCH_SIZE": 1,
                        "ASYNC_CONCURRENCY": 2,
                        "UNMATCHED": "dead-letter",
                    }
                },
            }
        },
        HANDLER_MODULES=["shop.more_handlers"],
    )
    stream, group = conf.stream("orders"), conf.group("orders", "billing")
    assert (stream.maxlen, stream.max_age, stream.exact_trim) == (10_000, 604_800.0, True)
    assert (stream.keys.dlq, stream.max_payload, stream.format) == ("failed", 1000, "flat")
    (events,) = stream.models
    assert (events.model, events.on, events.fields, events.type) == ("shop.Order", ("created",), ("id",), "order")
    assert (group.start, group.max_retries, group.backoff) == ("$", 0, (2.0, 3.5))
    assert (group.claim_idle, group.timeout, group.max_crashes, group.batch_size) == (5.0, 60.0, 1, 1)
    assert group.async_concurrency == 2
    assert (group.unmatched, group.unmatched_given) == ("dead-letter", True)
    assert conf.get().handler_modules == ("shop.more_handlers",)


def test_prefix_stands_before_every_key(declare):
    """All keys of a connection begin with its prefix, and a colon that nobody has to write."""
    declare(
        {"orders": {"DEAD_LETTER_STREAM": "failed"}},
        CONNECTIONS={"default": {"URL": "redis://localhost", "KEY_PREFIX": "staging"}},
    )
    keys = conf.stream("orders").keys
    assert (keys.main, keys.groups, keys.dlq) == ("staging:orders", "{staging:orders}:groups", "staging:failed")


def test_settings_are_read_again_when_they_change(declare):
    """`override_settings` and the fixture `settings` have their effect at once."""
    declare({"orders": {}})
    assert "orders" in conf.get().streams
    declare({"tasks": {}})
    assert list(conf.get().streams) == ["tasks"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"CONECTIONS": {}}, "Did you mean 'CONNECTIONS'?"),
        ({"STREAMS": {"orders": {"MAX_LEN": 1}}}, "Did you mean 'MAXLEN'?"),
        ({"STREAMS": {"orders": {"GROUPS": {"billing": {"BACKOF": 1}}}}}, "Did you mean 'BACKOFF'?"),
        ({"CONNECTIONS": {"default": {"URL": "redis://x", "PREFIX": ""}}}, "Did you mean 'KEY_PREFIX'?"),
        ({"STREAMS": {"orders": {"MODELS": {"shop.Order": {"FIELD": ["id"]}}}}}, "Did you mean 'FIELDS'?"),
        ({"STREAMS": {"orders": {"MODELS": {"shop.Order": {"on": ["created"]}}}}}, "key 'on'. Did you mean 'ON'?"),
        (
            {"STREAMS": {"orders": {"MODELS": {"shop.Order": {"fields": ["id"]}}}}},
            "key 'fields'. Did you mean 'FIELDS'?",
        ),
        ({"STREAMS": {"orders": {"MODELS": {"shop.Order": {"type": "t"}}}}}, "key 'type'. Did you mean 'TYPE'?"),
        ({"STREAMS": {"orders": {"MODELS": {"shop.Order": {"lane": "default"}}}}}, "key 'lane'. Did you mean 'LANE'?"),
        ({"STREAMS": {"orders": {"max_age": 5}}}, "key 'max_age'. Did you mean 'MAX_AGE'?"),
        ({"zzz": 1}, "Declared: 'CONNECTIONS', 'STREAMS', 'HANDLER_MODULES'."),
    ],
)
def test_unknown_keys_are_named_with_the_nearest(declare, given, said):
    """A slip of the pen is found and mended by what is said of it."""
    declare(**{"streams": given.pop("STREAMS", None), **given})
    ((identity, sentence),) = problems()
    assert identity == "E001"
    assert said in sentence


STREAM = "REDIS_STREAMS['STREAMS']['orders']"
GROUP = f"{STREAM}['GROUPS']['billing']"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("MAXLEN", 0, "expected a whole number, 1 or more"),
        ("MAXLEN", "10", "expected a whole number"),
        ("MAXLEN", True, "expected a whole number"),
        ("MAX_AGE", 0, "expected seconds above 0"),
        ("MAX_AGE", timedelta(0), "expected seconds above 0"),
        ("MAX_AGE", float("inf"), "expected seconds above 0"),
        ("MAX_AGE", float("nan"), "expected seconds above 0"),
        ("MAX_AGE", True, "expected seconds above 0"),
        ("EXACT_TRIM", "no", "expected True or False"),
        ("DEAD_LETTER_STREAM", "", "expected text that isn't empty"),
        ("MAX_PAYLOAD", -1, "expected a whole number"),
        ("FORMAT", "xml", "expected 'json' or 'flat'"),
        ("FORMAT", [], "expected 'json' or 'flat'"),
        ("CONNECTION", 1, "expected text"),
        ("GROUPS", ["billing"], "expected a dict with names as its keys"),
        ("MODELS", "shop.Order", "expected a dict"),
    ],
)
def test_bad_value_of_a_stream(declare, key, value, said):
    """What is wrong is said with the place, the value and what was expected."""
    declare({"orders": {key: value}})
    assert ("E002", f"{STREAM}[{key!r}] is {value!r}: ") in [
        (id_, text.split("expected")[0]) for id_, text in problems()
    ]
    assert said in problems()[0][1]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("START", 0, "expected '0', '$' or an entry id such as '1700000000000-0'"),
        ("START", "now", "expected '0'"),
        ("START", "\u0661-0", "expected '0'"),
        ("START", f"{2**64}-0", "expected '0', '$' or an entry id whose parts are at most 18446744073709551615"),
        ("START", f"1-{2**64}", "whose parts are at most 18446744073709551615"),
        ("START", "1" * 5_000, "expected '0', '$' or an entry id such as '1700000000000-0'"),
        ("MAX_RETRIES", -1, "expected a whole number, 0 or more"),
        ("MAX_RETRIES", 1.5, "expected a whole number"),
        ("BACKOFF", 5, "expected (base, cap)"),
        ("BACKOFF", (1, 2, 3), "expected (base, cap)"),
        ("BACKOFF", ("1", "2"), "expected (base, cap)"),
        ("BACKOFF", "12", "expected (base, cap)"),
        ("BACKOFF", (10, 1), "the base not above the cap"),
        ("CLAIM_IDLE", None, "expected seconds above 0"),
        ("TIMEOUT", 0, "expected seconds above 0"),
        ("MAX_CRASHES", 0, "expected a whole number, 1 or more"),
        ("BATCH_SIZE", 0, "expected a whole number, from 1 to 10,000"),
        ("ASYNC_CONCURRENCY", 0, "expected a whole number, from 1 to 10,000"),
        ("ASYNC_CONCURRENCY", 1.5, "expected a whole number, from 1 to 10,000"),
        ("ASYNC_CONCURRENCY", None, "expected a whole number, from 1 to 10,000"),
        ("UNMATCHED", "ignore", "expected 'dead-letter' or 'skip'"),
        ("BATCH_SIZE", 10_001, "expected a whole number, from 1 to 10,000"),
        ("ASYNC_CONCURRENCY", 10**30, "expected a whole number, from 1 to 10,000"),
        ("GROUP_CONCURRENCY", 10**30, "expected a whole number, from 1 to 1,000,000"),
        ("RATE", "1000001/s", "expected a whole number, at most 1,000,000, a second, minute or hour"),
        ("RATE", f"{10**30}/h", "expected a whole number, at most 1,000,000"),
        ("CLAIM_IDLE", 1e300, "expected seconds above 0, and at most a hundred years"),
        ("RATE", 100, "such as '100/s', '30/m', '9/h'"),
        ("RATE", "0/s", "expected a whole number, 1 or more, a second, minute or hour"),
        ("RATE", "100/d", "such as '100/s'"),
        ("RATE", "1.5/s", "such as '100/s'"),
        ("GROUP_CONCURRENCY", 0, "expected a whole number, from 1 to 1,000,000"),
    ],
)
def test_bad_value_of_a_group(declare, key, value, said):
    """As for a stream, one level down."""
    declare({"orders": {"GROUPS": {"billing": {key: value}}}})
    ((identity, sentence),) = problems()
    assert identity == "E002"
    assert sentence.startswith(f"{GROUP}[{key!r}] is {value!r}: ")
    assert said in sentence


def test_a_timeout_may_be_none(declare):
    """A group may say that its handlers are never ended."""
    declare({"orders": {"GROUPS": {"billing": {"TIMEOUT": None}}}})
    assert conf.group("orders", "billing").timeout is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"ON": "created"}, "expected a list of texts"),
        ({"ON": []}, "expected a list of some of created, updated, deleted"),
        ({"ON": ["saved"]}, "expected a list of some of created, updated, deleted"),
        ({"FIELDS": []}, "at least one"),
        ({"FIELDS": "id"}, "expected a list of texts"),
        ({"TYPE": ""}, "expected text"),
        ({"TYPE": "x" * 1_001}, "of at most 1,000 characters"),
        (["created"], "expected a dict"),
    ],
)
def test_bad_value_of_models(declare, value, said):
    """What a model publishes is checked like the rest."""
    declare({"orders": {"MODELS": {"shop.Order": value}}})
    assert [identity for identity, _ in problems()] == ["E002"]
    assert said in problems()[0][1]


@pytest.mark.parametrize("raw", [[], "x", {"STREAMS": []}, {"STREAMS": {"orders": None}}, {"STREAMS": {1: {}}}])
def test_levels_must_be_dicts(settings, raw):
    """A level of another type is one problem, not an exception."""
    settings.REDIS_STREAMS = raw
    assert "E002" in [identity for identity, _ in problems()]


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_an_empty_url_is_said_to_be_empty(declare, empty):
    """As the value of a variable that isn't set: there is nothing to hide."""
    declare(CONNECTIONS={"default": {"URL": empty}})
    ((_, said),) = problems()
    assert said.startswith(f"REDIS_STREAMS['CONNECTIONS']['default']['URL'] is {empty!r}: it is empty, as a variable")


def test_a_setting_that_is_missing_is_said_to_be_missing(settings):
    """A stream isn't looked for in what isn't there; nor a connection."""
    settings.REDIS_STREAMS = None
    missing = "The setting REDIS_STREAMS is missing, so no stream is declared."
    for ask in (lambda: conf.stream("orders"), lambda: conf.group("orders", "billing"), lambda: conf.connection("x")):
        with pytest.raises((ConfigurationError, UnknownStream), match=f"^{re.escape(missing)}$"):
            ask()
    del settings.REDIS_STREAMS
    settings.REDIS_STREAM = {}
    with pytest.raises(UnknownStream) as raised:
        conf.stream("orders")
    assert str(raised.value) == f"{missing} Did you mean REDIS_STREAMS where REDIS_STREAM stands?"


def test_url_is_required(declare):
    """A connection that leads nowhere is named, with an example."""
    declare(CONNECTIONS={"default": {}})
    assert problems() == [
        (
            "E003",
            "REDIS_STREAMS['CONNECTIONS']['default'] has no 'URL'. Give it one, such as 'redis://localhost:6379/0'.",
        )
    ]


@pytest.mark.parametrize("url", ["http://user:s3cret@host", "s3cret", b"redis://:s3cret@host", None])
def test_passwords_are_never_shown(declare, url):
    """A URL and options that are wrong aren't repeated: they may hold a password."""
    declare(CONNECTIONS={"default": {"URL": url, "OPTIONS": ["s3cret"]}})
    assert [identity for identity, _ in problems()] == ["E002", "E002"]
    assert "s3cret" not in str(problems())
    assert "s3cret" not in repr(conf.usable())


def test_repr_of_a_connection_shows_no_password(declare):
    """Nor are those that are right: a repr ends up in tracebacks."""
    declare(CONNECTIONS={"default": {"URL": "redis://:s3cret@host", "OPTIONS": {"password": "s3cret"}}})
    assert "s3cret" not in repr(conf.get())


@pytest.mark.parametrize("prefix", ["staging:", None, 5])
def test_prefix_is_text_without_its_colon(declare, prefix):
    """The colon is added, so that nobody writes it twice."""
    declare(CONNECTIONS={"default": {"URL": "redis://localhost", "KEY_PREFIX": prefix}})
    ((identity, sentence),) = problems()
    assert identity == "E002"
    assert "expected text without the colon at its end, which is added" in sentence


def test_unknown_connection_of_a_stream(declare, settings):
    """A stream can only be where a connection leads."""
    declare({"orders": {"CONNECTION": "defualt"}})
    assert problems() == [("E004", f"{STREAM} uses the unknown connection 'defualt'. Did you mean 'default'?")]
    settings.REDIS_STREAMS = {"CONNECTIONS": {"main": {"URL": "redis://localhost"}}, "STREAMS": {"orders": {}}}
    default = "which is the default of its CONNECTION"
    assert problems() == [("E004", f"{STREAM} uses the unknown connection 'default', {default}. Declared: 'main'.")]


@pytest.mark.parametrize("groups", [{"billing"}, ["billing"], "billing"])
def test_groups_that_are_no_dict_are_told_how_to_write_them(declare, groups):
    """A set or a list of names is the likely slip."""
    declare({"orders": {"GROUPS": groups}})
    ((_, text),) = problems()
    assert text.endswith("expected a dict with names as its keys. Write {'billing': {}}: groups by name.")


@pytest.mark.parametrize(
    "given",
    [
        {"streams": {"or{d}ers": {}}},
        {"streams": {"orders}": {}}},
        {"streams": {"orders": {"GROUPS": {"bil:ling": {}}}}},
        {"streams": {"orders": {"GROUPS": {"{billing": {}}}}},
        {"CONNECTIONS": {"default": {"URL": "redis://x", "KEY_PREFIX": "{a"}}},
    ],
)
def test_names_that_would_move_keys_are_refused(declare, given):
    """Braces decide where a key lies in a cluster, colons part the words of a key."""
    declare(**given)
    assert [identity for identity, _ in problems()] == ["E005"]


def test_stream_names_may_hold_colons(declare):
    """Many projects name their keys so."""
    declare({"shop:orders": {}})
    assert conf.stream("shop:orders").keys.dlq == "{shop:orders}:dlq"


@pytest.mark.parametrize(
    "streams",
    [
        {"orders": {"DEAD_LETTER_STREAM": "orders"}},
        {"orders": {"DEAD_LETTER_STREAM": "tasks"}, "tasks": {}},
        {"orders": {"DEAD_LETTER_STREAM": "failed"}, "tasks": {"DEAD_LETTER_STREAM": "failed"}},
        {"orders": {"DEAD_LETTER_STREAM": "{tasks}:dlq"}, "tasks": {}},
    ],
)
def test_two_uses_of_one_key_are_refused(declare, streams):
    """A group that read dead letters as its messages would never come to an end."""
    declare(streams)
    assert {identity for identity, _ in problems()} == {"E006"}


def test_same_name_on_two_servers_is_no_clash(declare):
    """Keys of two servers, or of two prefixes, have nothing to do with each other."""
    declare(
        {"a": {"DEAD_LETTER_STREAM": "failed"}, "b": {"DEAD_LETTER_STREAM": "failed", "CONNECTION": "other"}},
        CONNECTIONS={"default": {"URL": "redis://x"}, "other": {"URL": "redis://y"}},
    )
    assert problems() == []


def test_all_problems_are_told_at_once(declare):
    """Whoever mends settings mends them once."""
    declare({"orders": {"MAXLEN": 0, "MAX_LEN": 1, "GROUPS": {"a:b": {}, "billing": {"START": 5}}}})
    assert sorted(identity for identity, _ in problems()) == ["E001", "E002", "E002", "E005"]
    with pytest.raises(ConfigurationError) as raised:
        conf.get()
    assert all(sentence in str(raised.value) for _, sentence in problems())


def test_unknown_stream_and_group_are_named_with_the_nearest(declare):
    """Asking for what isn't declared says what is."""
    declare({"orders": {"GROUPS": {"billing": {}}}})
    with pytest.raises(UnknownStream, match=r"'order' isn't declared.*Did you mean 'orders'"):
        conf.stream("order")
    with pytest.raises(UnknownStream, match=r"'biling' isn't declared.*Did you mean 'billing'"):
        conf.group("orders", "biling")
    with pytest.raises(ConfigurationError, match=r"'x' isn't declared.*Declared: 'default'"):
        conf.connection("x")


@pytest.mark.parametrize("name", [None, 5, ["orders"], {}])
def test_anything_may_be_asked_for(declare, name):
    """A name of another type is unknown, not a crash."""
    declare({"orders": {}})
    with pytest.raises(UnknownStream):
        conf.stream(name)


def test_usable_is_what_could_be_parsed(declare):
    """Those who must not raise, such as the start of the app, get what there is."""
    declare({"orders": {"MAXLEN": 0}, "tasks": {}})
    assert list(conf.usable().streams) == ["orders", "tasks"]
