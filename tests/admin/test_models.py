"""The models have no tables, and nobody notices: not migrate, not dumpdata, not the checks."""

import io
import json

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection

from django_redis_streams.models import ConsumerGroup, DeadLetter, DelayedMessage, PendingMessage, RetryingMessage

MODELS = (ConsumerGroup, DeadLetter, DelayedMessage, PendingMessage, RetryingMessage)


def test_migrate_makes_the_permissions_and_no_tables_but_those_of_outbox_and_inbox() -> None:
    """The names are stored in users' databases: they never change."""
    names = Permission.objects.filter(content_type__app_label="django_redis_streams").values_list("codename", flat=True)
    assert set(names) == {
        "view_consumergroup", "pause_consumergroup",
        "view_deadletter", "replay_deadletter", "discard_deadletter",
        "view_retryingmessage", "discard_retryingmessage",
        "view_delayedmessage", "publish_delayedmessage", "discard_delayedmessage",
        "view_pendingmessage", "release_pendingmessage",
    }  # fmt: skip
    tables = [name for name in connection.introspection.table_names() if name.startswith("django_redis_streams")]
    assert all(name.startswith(("django_redis_streams_outbox_", "django_redis_streams_inbox_")) for name in tables)


def test_migrations_are_complete() -> None:
    """The models are as the migrations say."""
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


@pytest.mark.parametrize("options", [(), ("--all",), ("django_redis_streams",)])
def test_dumpdata_finds_nothing_and_fails_at_nothing(options: tuple[str, ...]) -> None:
    """A project's dump goes on as before."""
    out = io.StringIO()
    call_command("dumpdata", *options, stdout=out)
    assert not [row for row in json.loads(out.getvalue()) if row["model"].startswith("django_redis_streams")]


@pytest.mark.parametrize("model", MODELS)
def test_the_orm_asks_no_database(model: type, django_assert_num_queries: object) -> None:
    """Whoever queries the models gets nothing, without SQL."""
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert list(model.objects.all()) == []  # type: ignore[attr-defined]
        assert model.objects.filter(stream="orders").count() == 0  # type: ignore[attr-defined]
