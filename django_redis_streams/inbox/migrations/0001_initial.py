from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="InboxMessage",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False, verbose_name="key")),
                ("stream", models.CharField(editable=False, max_length=255, verbose_name="stream")),
                ("group", models.CharField(editable=False, max_length=255, verbose_name="group")),
                ("message_id", models.CharField(editable=False, max_length=255, verbose_name="message")),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False, verbose_name="created")),
            ],
            options={
                "verbose_name": "handled message",
                "verbose_name_plural": "handled messages",
                "ordering": ("created_at", "id"),
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["stream", "group", "created_at"], name="streams_inbox_by_age")],
            },
        ),
    ]
