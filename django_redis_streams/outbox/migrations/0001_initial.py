from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="OutboxMessage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("message_id", models.CharField(editable=False, max_length=36, verbose_name="message")),
                ("stream", models.CharField(editable=False, max_length=255, verbose_name="stream")),
                ("lane", models.CharField(editable=False, max_length=255, verbose_name="lane")),
                ("key_hash", models.BigIntegerField(editable=False, null=True, verbose_name="hash of the key")),
                ("entry", models.TextField(editable=False, verbose_name="entry")),
                ("delay_ms", models.BigIntegerField(editable=False, null=True, verbose_name="delay in ms")),
                ("due_ms", models.BigIntegerField(editable=False, null=True, verbose_name="due in ms since 1970")),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False, verbose_name="created")),
                ("next_try_at", models.DateTimeField(db_default=Now(), editable=False, verbose_name="next try")),
                ("attempts", models.PositiveIntegerField(default=0, editable=False, verbose_name="attempts")),
                ("error", models.TextField(blank=True, editable=False, verbose_name="error")),
                ("sent_at", models.DateTimeField(editable=False, null=True, verbose_name="sent")),
                ("entry_id", models.CharField(blank=True, editable=False, max_length=41, verbose_name="entry id")),
            ],
            options={
                "verbose_name": "unsent message",
                "verbose_name_plural": "unsent messages",
                "ordering": ("id",),
                "permissions": (
                    ("send_outboxmessage", "Can send unsent message now"),
                    ("discard_outboxmessage", "Can discard unsent message"),
                ),
                "default_permissions": ("view",),
                "constraints": [models.UniqueConstraint(fields=("message_id",), name="redis_streams_outbox_id")],
                "indexes": [models.Index(fields=["key_hash", "id"], name="redis_streams_outbox_key")],
            },
        ),
    ]
