"""Events of models: which saves and deletions are published, as what, with which values."""

import json
import re
from datetime import date
from decimal import Decimal

import pytest
from django.core import serializers
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.models import F
from django.db.models.signals import post_delete, post_save, pre_delete
from django.test.utils import CaptureQueriesContext, isolate_apps

from django_redis_streams import model_events, publishes
from django_redis_streams.exceptions import (
    ConfigurationError,
    InvalidMessage,
    PayloadTooLarge,
    ServerRefused,
    ServerUnreachable,
    TransactionError,
    UnknownStream,
)

from .catalogue.models import (
    Author,
    Book,
    DeepReading,
    FrontPage,
    Item,
    OldBook,
    OldPage,
    OldPaperBook,
    Page,
    PaperBook,
    Reading,
    Seat,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def declare():
    """Decorates models, and takes that back."""
    before = list(model_events.declared())

    def decorate(model, stream="orders", **options):
        return publishes(stream, **options)(model)

    yield decorate
    for declaration in model_events.declared():
        if declaration not in before:
            declaration.disconnect()
            model_events._by_decorator.remove(declaration)


@pytest.fixture
def events(streams, server):
    """What was published to a stream, as (type, payload), and forgets it."""

    def read(stream="orders"):
        found = [(fields["type"], json.loads(fields["data"])) for _, fields in server.raw().xrange(stream)]
        server.raw().delete(stream)
        return found

    return read


@pytest.fixture
def by_settings(streams):
    """Declares models by the setting MODELS of the stream "orders"."""
    return lambda **models: streams(
        {"orders": {"MODELS": {f"catalogue.{name}": each for name, each in models.items()}}}
    )


def queries(action):
    """The queries of an action, without those that begin and end transactions."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        action()
    words = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
    return [each["sql"] for each in captured if not each["sql"].startswith(words)]


# ---------------------------------------------------------------- which events


def test_saves_and_deletions_are_events(declare, events):
    """Without `fields` the payload is the primary key, by its field's name; the type names model and event."""
    declare(Book)
    book = Book.objects.create(title="Emma")
    identity = book.pk
    book.save()
    book.delete()
    assert events() == [
        ("catalogue.book.created", {"id": identity}),
        ("catalogue.book.updated", {"id": identity}),
        ("catalogue.book.deleted", {"id": identity}),
    ]


@pytest.mark.parametrize("on", ["created", "updated", "deleted"])
def test_only_what_is_asked_for_is_published(declare, events, on):
    """`on` names the events."""
    declare(Book, on=[on])
    book = Book.objects.create(title="Emma")
    book.save()
    book.delete()
    assert [type_ for type_, _ in events()] == [f"catalogue.book.{on}"]


def test_type_can_be_given(declare, events):
    """It is the type of all events of its declaration."""
    declare(Book, on=["created", "updated"], type="book.saved")
    Book.objects.create(title="Emma").save()
    assert [type_ for type_, _ in events()] == ["book.saved", "book.saved"]


def test_declarations_can_be_stacked(declare, events, streams):
    """Each publishes to its stream, with its own fields and types."""
    streams({"orders": {}, "tasks": {}})
    declare(declare(Book, on=["created"], fields=["title"]), "tasks", on=["created"], type="index")
    book = Book.objects.create(title="Emma")
    assert events("orders") == [("catalogue.book.created", {"title": "Emma"})]
    assert events("tasks") == [("index", {"id": book.pk})]


def test_models_that_are_not_declared_publish_nothing(declare, events):
    """A receiver is connected to its model alone; others keep their fast deletes."""
    declare(Book)
    author = Author.objects.create(name="Jane")
    author.delete()
    assert events() == []
    for signal in (post_save, pre_delete, post_delete):
        assert not signal.has_listeners(Author)


def test_event_is_published_on_commit(declare, events):
    """A save that is rolled back is no event."""
    declare(Book)
    with transaction.atomic():
        Book.objects.create(title="Emma")
        assert events() == []
        transaction.set_rollback(True)
    assert events() == []


def test_transaction_is_that_of_the_saves_database(declare, events, other):
    """An event waits for the commit of the database that the row is in, and of no other; its values are from there."""
    declare(Item, on=["created", "deleted"], fields=["net"])
    with other.schema_editor() as editor:
        editor.create_model(Item)
    with transaction.atomic(using="other"):
        item = Item.objects.using("other").create(net=1)
        Item.objects.using("other").only("id").get(pk=item.pk).delete()
        assert events() == []
    assert events() == [("catalogue.item.created", {"net": 1}), ("catalogue.item.deleted", {"net": 1})]
    with transaction.atomic():
        Item.objects.using("other").create(net=2)
        assert events() == [("catalogue.item.created", {"net": 2})]


def test_fixtures_are_no_events(declare, events):
    """`loaddata` restores what was: nothing has happened."""
    declare(Book)
    text = serializers.serialize("json", [Book(pk=1, title="Emma")])
    for each in serializers.deserialize("json", text):
        each.save()
    assert Book.objects.count() == 1
    assert events() == []


def test_bulk_methods_are_no_events(declare, events):
    """`bulk_create()` and the like send no signals: `publish_many` is for those."""
    declare(Book)
    (emma,) = Book.objects.bulk_create([Book(title="Emma")])
    Book.objects.update(title="Persuasion")
    Book.objects.bulk_update([emma], ["title"])
    emma.readers.add(Author.objects.create(name="Jane"))
    emma.readers.clear()
    Book.objects.all()._raw_delete(using="default")
    assert events() == []


def test_changes_that_follow_from_a_deletion_are_no_events(declare, events, monkeypatch):
    """Django writes the new value of the foreign key by `update()`."""
    declare(Book)
    monkeypatch.setattr(Book._meta.get_field("author").remote_field, "on_delete", models.SET_NULL)
    jane = Author.objects.create(name="Jane")
    Book.objects.bulk_create([Book(title="Emma", author=jane)])
    jane.delete()
    assert Book.objects.get().author is None
    assert events() == []


def test_deleting_a_queryset_is_an_event_for_each_row(declare, events):
    """So is a deletion that follows from another."""
    declare(Book, on=["deleted"], fields=["title"])
    jane = Author.objects.create(name="Jane")
    Book.objects.bulk_create([Book(title="Emma", author=jane), Book(title="Persuasion", author=jane)])
    Book.objects.create(title="Ulysses")
    jane.delete()
    assert sorted(payload["title"] for _, payload in events()) == ["Emma", "Persuasion"]
    Book.objects.all().delete()
    assert events() == [("catalogue.book.deleted", {"title": "Ulysses"})]


# ---------------------------------------------------------------- which values


def test_fields_are_the_payload(declare, events):
    """A foreign key by its column, whichever of its names was given; values as JSON has them."""
    declare(Book, on=["created"], fields=("title", "author", "price", "released", "cover"))
    jane = Author.objects.create(name="Jane")
    Book.objects.create(title="Emma", author=jane, price=Decimal("9.90"), released=date(1815, 12, 23))
    assert events() == [
        (
            "catalogue.book.created",
            {"title": "Emma", "author_id": jane.pk, "price": "9.90", "released": "1815-12-23", "cover": ""},
        )
    ]


def test_values_are_of_the_fields_own_types(declare, events):
    """What was assigned as text or number is published as what it is saved as."""
    declare(Book, on=["created"], fields=("price", "released", "author_id"))
    jane = Author.objects.create(name="Jane")
    Book.objects.create(price="9.90", released="1815-12-23", author_id=str(jane.pk))
    assert events() == [("catalogue.book.created", {"price": "9.90", "released": "1815-12-23", "author_id": jane.pk})]
    Book.objects.create(price=9)
    assert events()[0][1]["price"] == "9"


def test_file_is_published_by_its_name(declare, events, settings, tmp_path):
    """The name that it was stored under."""
    settings.MEDIA_ROOT = tmp_path
    declare(Book, on=["created"], fields=["cover"])
    book = Book.objects.create(cover=SimpleUploadedFile("emma.png", b"png"))
    assert events() == [("catalogue.book.created", {"cover": book.cover.name})]
    assert book.cover.name == "emma.png"


def test_values_are_those_of_the_save(declare, events):
    """What is changed between the save and the commit isn't in the event."""
    declare(Book, on=["created", "updated"], fields=["title"])
    with transaction.atomic():
        book = Book.objects.create(title="Emma")
        book.title = "Persuasion"
        book.save()
        book.title = "never saved"
    assert [payload["title"] for _, payload in events()] == ["Emma", "Persuasion"]


def test_event_costs_no_query(declare, events):
    """What is published is what the instance holds."""
    book = Book.objects.create(title="Emma")
    plain = len(queries(book.save))
    declare(Book, fields=("id", "title", "author_id", "price"))
    assert len(queries(book.save)) == plain
    assert len(events()) == 1


def test_expression_is_published_as_its_value(declare, events):
    """What only the database knows is asked for once, and the instance stays as its owner knows it."""
    declare(Book, on=["updated"], fields=("title", "price"))
    book = Book.objects.create(title="Emma", price=5)
    Book.objects.filter(pk=book.pk).update(price=7)
    book.price = F("price") + 1
    before = repr(book.price)
    book.save()
    assert events() == [("catalogue.book.updated", {"title": "Emma", "price": "8.00"})]
    assert repr(book.price) in {before, "Decimal('8.00')"}  # Django 6 refreshes it by itself


def test_values_of_the_databases_making_are_published(declare, events):
    """Generated columns and defaults of the database are known after the save."""
    declare(Item, fields=("id", "net", "gross", "state"))
    item = Item.objects.create(net=5)
    assert events() == [("catalogue.item.created", {"id": item.pk, "net": 5, "gross": 10, "state": 7})]
    item.net = 6
    item.save()
    assert events() == [("catalogue.item.updated", {"id": item.pk, "net": 6, "gross": 12, "state": 7})]


def test_deferred_fields_are_fetched_at_once(declare, events):
    """A save of a part of the fields publishes all of them, for one query more."""
    created = Book.objects.create(title="Emma", price=5)
    declare(Book, on=["updated"], fields=("title", "price", "released"))
    book = Book.objects.only("title").get(pk=created.pk)
    book.title = "Persuasion"
    asked = queries(book.save)
    assert [sql.split()[0] for sql in asked] == ["UPDATE", "SELECT"]
    assert events() == [("catalogue.book.updated", {"title": "Persuasion", "price": "5.00", "released": None})]
    assert book.get_deferred_fields() >= {"price", "released"}


def test_deferred_fields_are_fetched_before_a_deletion(declare, events):
    """Afterwards there is no row to fetch them from."""
    created = Book.objects.create(title="Emma", price=5)
    declare(Book, on=["deleted"], fields=("id", "title", "price"))
    Book.objects.only("id").get(pk=created.pk).delete()
    assert events() == [("catalogue.book.deleted", {"id": created.pk, "title": "Emma", "price": "5.00"})]
    Book.objects.create(pk=9, title="Emma")
    Book.objects.only("id").delete()
    assert events() == [("catalogue.book.deleted", {"id": 9, "title": "Emma", "price": "0.00"})]


def test_row_that_is_gone_already_has_no_values(declare, events):
    """What nobody knows any more is null; the deletion goes on."""
    created = Book.objects.create(title="Emma")
    declare(Book, on=["deleted"], fields=("id", "title"))
    book = Book.objects.only("id").get(pk=created.pk)
    Book.objects.filter(pk=created.pk)._raw_delete(using="default")
    book.delete()
    assert events() == [("catalogue.book.deleted", {"id": created.pk, "title": None})]


def test_primary_key_of_two_columns_is_both(declare, events):
    """A composite primary key has a name for each of its parts."""
    declare(Seat)
    seat = Seat.objects.create(row=3, number=7)
    seat.delete()
    assert events() == [
        ("catalogue.seat.created", {"row": 3, "number": 7}),
        ("catalogue.seat.deleted", {"row": 3, "number": 7}),
    ]


PAGE = ("id", "title", "views", "twice", "hidden")


@pytest.mark.parametrize("model", [Page, OldPage])
def test_base_manager_that_hides_the_row_hides_no_value(declare, events, model):
    """What the database knows is asked of the table: a save that hides the row is published as it was saved."""
    declare(model, on=["updated"], fields=PAGE)
    page = model.objects.create(title="Emma", views=1)
    page.views = F("views") + 1
    page.hidden = True
    page.save()
    assert not model.objects.exists()
    ((_, payload),) = events()
    assert payload == {"id": page.pk, "title": "Emma", "views": 2, "twice": 4, "hidden": True}


@pytest.mark.parametrize("model", [Page, OldPage, FrontPage])
def test_row_that_is_hidden_from_the_beginning_is_published_whole(declare, events, model):
    """So is what the database makes of a row that the base manager never shows, of two tables too."""
    declare(Page, on=["created"], fields=PAGE)
    page = model.objects.create(title="Emma", views=1, hidden=True)
    assert events() == [
        ("catalogue.page.created", {"id": page.pk, "title": "Emma", "views": 1, "twice": 2, "hidden": True})
    ]


@pytest.mark.parametrize(
    ("model", "unknown"),
    [(Page, ["title", "views", "twice", "hidden"]), (Page, ["hidden"]), (OldPage, ["twice"]), (FrontPage, ["place"])],
)
def test_hidden_row_is_deleted_with_its_values(declare, events, model, unknown):
    """Deferred values of a row that the base manager hides are fetched, and the deletion goes on."""
    declare(model, on=["deleted"], fields=[*PAGE, *({"place"} & set(unknown))])
    created = model.objects.create(title="Emma", views=1)
    page = model.objects.defer(*unknown).get(pk=created.pk)
    models.QuerySet(Page).update(hidden=True)
    page.delete()
    ((_, payload),) = events()
    assert payload == {
        "id": created.pk,
        "title": "Emma",
        "views": 1,
        "twice": 2,
        "hidden": "hidden" in unknown,
        **dict.fromkeys({"place"} & set(unknown), 1),
    }
    assert not models.QuerySet(Page).exists()


def test_null_is_published_for_what_can_not_be_null(declare, events):
    """Where the row is gone already nobody knows its values, of whatever kind of field; the deletion goes on."""
    declare(Page, on=["deleted"], fields=PAGE)
    created = Page.objects.create(title="Emma")
    page = Page.objects.only("id").get(pk=created.pk)
    models.QuerySet(Page).filter(pk=created.pk)._raw_delete(using="default")
    page.delete()
    assert events() == [("catalogue.page.deleted", {**dict.fromkeys(PAGE), "id": created.pk})]


def test_values_are_of_the_saves_database_whatever_the_router_says(declare, events, other, settings):
    """A replica that reads are routed to may not have the row yet."""
    with other.schema_editor() as editor:
        editor.create_model(Page)
    settings.DATABASE_ROUTERS = ["tests.test_model_events.ReadElsewhere"]
    declare(Page, fields=["views"])
    page = Page(title="Emma", views=1)
    page.save(using="default")
    page.views = F("views") + 1
    page.save(using="default")
    Page.objects.using("default").only("id").get(pk=page.pk).delete(using="default")
    assert [payload for _, payload in events()] == [{"views": 1}, {"views": 2}, {"views": 2}]


class ReadElsewhere:
    """A router that has everything read from another database."""

    def db_for_read(self, *_, **__):
        """Names it."""
        return "other"


# ---------------------------------------------------------------- what can't be published


# Outside a transaction the row is committed when its event is made: the save stands, and what went wrong is told.


def test_server_that_is_away_does_not_make_a_committed_save_look_failed(declare, streams, failed, caplog):
    """The message is logged and signalled, as after a commit, for each save and each deletion."""
    streams(URL="unix:///nowhere/server.sock")
    declare(Author, fields=["id", "name"])
    author = Author.objects.create(name="Jane")
    payload = {"id": author.pk, "name": "Jane"}
    author.save()
    author.delete()
    assert [(told["message"].type, told["message"].payload) for told in failed] == [
        ("catalogue.author.created", payload),
        ("catalogue.author.updated", payload),
        ("catalogue.author.deleted", payload),
    ]
    assert {type(told["error"]) for told in failed} == {ServerUnreachable}
    assert [record.message_id for record in caplog.records] == [told["message"].id for told in failed]


def test_refusal_does_not_make_a_committed_save_look_failed(declare, events, server, failed):
    """So is what the server doesn't take."""
    server.raw().set("orders", "taken")
    declare(Author)
    Author.objects.create(name="Jane")
    assert [type(told["error"]) for told in failed] == [ServerRefused]


@pytest.mark.parametrize("model", [Reading, DeepReading])
def test_payload_that_cannot_be_encoded_is_told_where_the_save_is_committed(declare, events, failed, caplog, model):
    """The signal has the values that were to be encoded, the log the row; models of two tables do as others."""
    declare(Reading, fields=["id", "tags"])
    reading = model.objects.create(tags={"a"})
    assert model.objects.count() == 1
    ((error, message),) = [(told["error"], told["message"]) for told in failed]
    assert "payload['tags']={'a'}" in str(error)
    assert isinstance(error, InvalidMessage)
    assert (message.stream, message.type, message.lane) == ("orders", "catalogue.reading.created", "default")
    assert message.payload == {"id": reading.pk, "tags": {"a"}}
    (record,) = caplog.records
    assert (record.stream, record.message_id) == ("orders", message.id)
    assert f"catalogue.{model.__name__} {reading.pk}" in record.message
    reading.tags = ["a"]
    reading.save()
    assert events() == [("catalogue.reading.updated", {"id": reading.pk, "tags": ["a"]})]


def test_payload_that_is_too_large_is_told_where_the_save_is_committed(declare, streams, failed):
    """A limit of the stream is no reason to make a committed save look failed."""
    streams({"orders": {"MAX_PAYLOAD": 200}})
    declare(Reading, fields=["tags"])
    Reading.objects.create(tags="x" * 200)
    ((error, message),) = [(told["error"], told["message"]) for told in failed]
    assert (type(error), message.payload) == (PayloadTooLarge, {"tags": "x" * 200})


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"MODELS": {"catalogue.Author": {"FIELDS": ["nmae"]}}}, ConfigurationError),
        ({"MODELS": {"catalogue.Author": {}}, "MAXLEN": 0}, ConfigurationError),
        ({"MODELS": {"catalogue.Author": {"LANE": "fast"}}}, InvalidMessage),
    ],
)
def test_settings_that_cannot_work_are_told_where_the_save_is_committed(streams, failed, caplog, wrong, error):
    """A mistake in the settings is told at each save, whole or in part; the checks report it before."""
    author = Author.objects.create(name="Jane")
    streams({"orders": wrong})
    author.name = "Ann"
    author.save()
    author.save(update_fields=["name"])
    assert Author.objects.get().name == "Ann"
    assert [type(told["error"]) for told in failed] == [error, error]
    assert [record.message_id for record in caplog.records] == [told["message"].id for told in failed]


def test_unknown_stream_is_told_where_the_save_is_committed(declare, events, failed):
    """So is the name of a stream that isn't there."""
    declare(Author, "ordres")
    Author.objects.create(name="Jane")
    ((error, message),) = [(told["error"], told["message"]) for told in failed]
    assert (type(error), message.stream) == (UnknownStream, "ordres")


def test_transaction_of_another_database_is_none(declare, events, other, failed):
    """What counts is the database that was saved to."""
    declare(Reading, fields=["tags"])
    with other.schema_editor() as editor:
        editor.create_model(Reading)
    with transaction.atomic():
        Reading.objects.using("other").create(tags={"a"})
    assert len(failed) == 1
    with pytest.raises(InvalidMessage), transaction.atomic(using="other"):
        Reading.objects.using("other").create(tags={"a"})
    assert len(failed) == Reading.objects.using("other").count() == 1


# In a transaction it is an error of the save, which can be rolled back.


@pytest.mark.parametrize(
    "save",
    [
        transaction.atomic(lambda: Reading.objects.create(tags={"a"})),
        lambda: Reading.objects.get_or_create(tags=["a"], defaults={"tags": {"a"}}),
        lambda: Reading.objects.update_or_create(tags=["a"], defaults={"tags": {"a"}}),
    ],
    ids=["atomic", "get_or_create", "update_or_create"],
)
def test_payload_that_cannot_be_encoded_is_an_error_in_a_transaction(declare, events, failed, caplog, save):
    """Nothing is saved, published or told of; Django's own methods that make two queries are in one too."""
    declare(Reading, fields=["tags"])
    with pytest.raises(InvalidMessage, match=re.escape("payload['tags']={'a'}")):
        save()
    assert not Reading.objects.exists()
    assert (events(), failed, caplog.records) == ([], [], [])


def test_deletion_is_always_in_a_transaction(declare, events, failed):
    """Django deletes in a transaction of its own, so a deletion whose event can't be encoded doesn't happen."""
    reading = Reading.objects.create(tags=["a"])
    declare(Reading, fields=["tags"])
    reading.tags = {"a"}
    with pytest.raises(InvalidMessage):
        reading.delete()
    assert Reading.objects.count() == 1
    reading.tags = ["b"]
    reading.delete()
    assert events() == [("catalogue.reading.deleted", {"tags": ["b"]})]
    assert failed == []


def test_transaction_that_django_does_not_manage_is_an_error_of_the_save(declare, events, failed):
    """It isn't committed either, so it is an error of the save."""
    declare(Reading, fields=["tags"])
    connection.set_autocommit(False)
    try:
        with pytest.raises(TransactionError):
            Reading.objects.create(tags=["a"])
        connection.rollback()
    finally:
        connection.set_autocommit(True)
    assert (Reading.objects.count(), events(), failed) == (0, [], [])


def test_server_that_is_away_is_told_after_the_commit(declare, streams, failed):
    """The save stands, with all that was saved beside it."""
    streams(URL="unix:///nowhere/server.sock")
    declare(Author, fields=["name"])
    with transaction.atomic():
        Author.objects.create(name="Jane")
        assert failed == []
    assert [told["message"].payload for told in failed] == [{"name": "Jane"}]
    assert Author.objects.count() == 1


# ---------------------------------------------------------------- update_fields


@pytest.mark.parametrize(
    ("fields", "update_fields", "published"),
    [
        (["title"], ["title"], True),
        (["title"], ["price"], False),
        (["title", "price"], ["price", "released"], True),
        (["author"], ["author_id"], True),
        (["author_id"], ["author"], True),
        (None, ["price"], True),
        (["title"], [], False),
    ],
)
def test_update_fields_decide_whether_it_is_an_event(declare, events, fields, update_fields, published):
    """A save that touches none of `fields` says nothing; one that touches any says all of them."""
    book = Book.objects.create(title="Emma")
    declare(Book, fields=fields)
    book.save(update_fields=update_fields)
    found = events()
    assert [type_ for type_, _ in found] == ["catalogue.book.updated"] * published
    if published and fields:
        assert len(found[0][1]) == len(fields)


# ---------------------------------------------------------------- proxies and subclasses


@pytest.mark.parametrize("saved", [Book, OldBook, PaperBook, OldPaperBook])
def test_all_that_derive_publish_as_the_declared_model(declare, events, saved):
    """One event for each save and each deletion, whichever class it was done by."""
    declare(Book, fields=("id", "title"))
    book = saved.objects.create(title="Emma")
    payload = {"id": book.pk, "title": "Emma"}
    assert events() == [("catalogue.book.created", payload)]
    book.save()
    assert events() == [("catalogue.book.updated", payload)]
    book.delete()
    assert events() == [("catalogue.book.deleted", payload)]


@pytest.mark.parametrize("deleted", [PaperBook, OldPaperBook, Book, OldBook])
def test_row_of_two_tables_is_one_deletion(declare, events, deleted):
    """Whichever of its classes it is deleted by, by instance and by queryset."""
    declare(Book, on=["deleted"], fields=["title"])
    for delete in (lambda: deleted.objects.get().delete(), lambda: deleted.objects.all().delete()):
        PaperBook.objects.create(title="Emma")
        delete()
        assert PaperBook.objects.count() == Book.objects.count() == 0
        assert events() == [("catalogue.book.deleted", {"title": "Emma"})]


@pytest.mark.parametrize("deleted", [PaperBook, OldPaperBook, Book, OldBook])
def test_subclass_that_is_declared_is_one_deletion(declare, events, deleted):
    """The same where it is the subclass that publishes."""
    declare(PaperBook, on=["deleted"], fields=["pages"])
    PaperBook.objects.create(title="Emma", pages=9)
    deleted.objects.get().delete()
    assert events() == [("catalogue.paperbook.deleted", {"pages": 9})]


def test_parent_that_is_kept_is_not_deleted(declare, events):
    """With `keep_parents` the row of the declared model is still there."""
    declare(Book, on=["deleted"])
    PaperBook.objects.create(title="Emma").delete(keep_parents=True)
    assert events() == []
    assert Book.objects.count() == 1


def test_proxy_that_is_declared_publishes_its_own_saves(declare, events):
    """A proxy stands for what is done through it; the model behind it isn't declared."""
    declare(OldBook)
    Book.objects.create(title="Emma")
    assert events() == []
    OldBook.objects.create(title="Emma")
    assert [type_ for type_, _ in events()] == ["catalogue.oldbook.created"]


@isolate_apps("tests.catalogue")
def test_subclass_that_is_defined_later_publishes_too(declare, events):
    """An app that is loaded later may derive from a declared model."""
    declare(Book)

    class LateBook(Book):
        class Meta:
            app_label = "catalogue"
            proxy = True

    LateBook(title="Emma").save()
    assert [type_ for type_, _ in events()] == ["catalogue.book.created"]


# ---------------------------------------------------------------- settings


def test_models_can_be_declared_by_settings(by_settings, events):
    """For models of other people's apps; the options are those of the decorator."""
    by_settings(Author={"ON": ["created"], "FIELDS": ["name"], "TYPE": "author.new"}, Book={})
    author = Author.objects.create(name="Jane")
    author.save()
    book = Book.objects.create(title="Emma")
    assert events() == [("author.new", {"name": "Jane"}), ("catalogue.book.created", {"id": book.pk})]


def test_declarations_by_settings_follow_the_settings(by_settings, events, streams):
    """What is overridden is connected, and disconnected again."""
    by_settings(Book={})
    Book.objects.create(title="Emma")
    assert len(events()) == 1
    by_settings(Author={})
    Book.objects.create(title="Emma")
    Author.objects.create(name="Jane")
    assert [type_ for type_, _ in events()] == ["catalogue.author.created"]
    streams()
    Author.objects.create(name="Jane")
    assert events() == []


def test_other_models_are_published_where_one_is_not_there(streams, events, caplog):
    """The start of the app never fails on a setting: it is logged, and the checks report it."""
    streams({"orders": {"MODELS": {"catalogue.Bok": {}, "no dots": {}, "catalogue.Author": {}}}})
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "'catalogue.Bok'" in caplog.text
    Author.objects.create(name="Jane")
    assert len(events()) == 1


def test_field_that_is_not_there_is_an_error_of_the_save(by_settings, events):
    """Better than an event that was never sent: nothing is dropped in silence."""
    by_settings(Author={"FIELDS": ["nmae"]})
    with pytest.raises(ConfigurationError, match=r"'nmae'.*Did you mean 'name'"), transaction.atomic():
        Author.objects.create(name="Jane")
    assert Author.objects.count() == 0


def test_settings_with_other_problems_are_an_error_of_the_save(streams, server):
    """What could be parsed is connected, so that a save doesn't pass in silence where publishing can't work."""
    streams({"orders": {"MODELS": {"catalogue.Author": {}}, "MAXLEN": 0}})
    with pytest.raises(ConfigurationError, match="MAXLEN"), transaction.atomic():
        Author.objects.create(name="Jane")


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fields": ["titel"]}, "can't publish the field 'titel': it has none of that name. Did you mean 'title'?"),
        ({"fields": ["readers"]}, "expected a field with a column of its own, not a relation to many"),
        ({"fields": ["scan"]}, "bytes are no JSON value"),
        ({"fields": ["paperbook"]}, "expected a field with a column of its own"),
        ({"fields": "title"}, "@publishes(fields='title'): expected a list of texts"),
        ({"fields": []}, "@publishes(fields=[]): expected a list of texts, at least one"),
        ({"on": "created"}, "@publishes(on='created'): expected a list of texts"),
        ({"on": ["saved"]}, "expected a list of some of created, updated, deleted"),
        ({"on": []}, "expected a list of some of"),
        ({"type": ""}, "@publishes(type=''): expected text"),
        ({"stream": None}, "@publishes(stream=None): expected text"),
    ],
)
def test_bad_declaration_is_an_error_of_the_declaration(declare, options, said):
    """It is found when the model is defined, not when it is first saved."""
    with pytest.raises(ConfigurationError) as raised:
        declare(Book, **options)
    assert said in str(raised.value)
    assert Book not in [each.model for each in model_events.declared()]


@isolate_apps("tests.catalogue")
def test_only_models_can_be_declared(declare):
    """An abstract model has no rows to tell of; the models that derive from it are declared one by one."""

    class Abstract(models.Model):
        class Meta:
            abstract = True

    for wrong in (Abstract, int, "catalogue.Book"):
        with pytest.raises(ConfigurationError, match="expected a model that isn't abstract"):
            declare(wrong)


def test_unknown_stream_is_an_error_of_the_save(declare, streams):
    """The decorator reads no settings, so this is found by the checks, or here."""
    declare(Author, "ordres")
    with pytest.raises(UnknownStream, match="Did you mean 'orders'"), transaction.atomic():
        Author.objects.create(name="Jane")


def test_loaddata_publishes_nothing(declare, events, tmp_path):
    """By the command itself."""
    declare(Author)
    fixture = tmp_path / "authors.json"
    fixture.write_text('[{"model": "catalogue.author", "pk": 1, "fields": {"name": "Jane"}}]')
    call_command("loaddata", str(fixture), verbosity=0)
    assert Author.objects.count() == 1
    assert events() == []
