from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ConsumerGroup",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
                ("stream", models.TextField(editable=False, verbose_name="stream")),
                ("group", models.TextField(editable=False, verbose_name="group")),
            ],
            options={
                "verbose_name": "consumer group",
                "verbose_name_plural": "consumer groups",
                "permissions": (("pause_consumergroup", "Can pause and resume consumer group"),),
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
                ("message_id", models.TextField(editable=False, verbose_name="message")),
                ("stream", models.TextField(editable=False, verbose_name="stream")),
                ("group", models.TextField(editable=False, verbose_name="group")),
                ("type", models.TextField(editable=False, verbose_name="type")),
                ("attempts", models.PositiveIntegerField(editable=False, verbose_name="attempts")),
                ("reason", models.TextField(editable=False, verbose_name="reason")),
            ],
            options={
                "verbose_name": "dead letter",
                "verbose_name_plural": "dead letters",
                "permissions": (
                    ("replay_deadletter", "Can replay dead letter"),
                    ("discard_deadletter", "Can discard dead letter"),
                ),
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="DelayedMessage",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
                ("message_id", models.TextField(editable=False, verbose_name="message")),
                ("stream", models.TextField(editable=False, verbose_name="stream")),
                ("group", models.TextField(editable=False, verbose_name="group")),
                ("type", models.TextField(editable=False, verbose_name="type")),
                ("attempts", models.PositiveIntegerField(editable=False, verbose_name="attempts")),
            ],
            options={
                "verbose_name": "delayed message",
                "verbose_name_plural": "delayed messages",
                "permissions": (
                    ("publish_delayedmessage", "Can publish delayed message"),
                    ("discard_delayedmessage", "Can discard delayed message"),
                ),
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="PendingMessage",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
                ("message_id", models.TextField(editable=False, verbose_name="message")),
                ("stream", models.TextField(editable=False, verbose_name="stream")),
                ("group", models.TextField(editable=False, verbose_name="group")),
                ("type", models.TextField(editable=False, verbose_name="type")),
                ("attempts", models.PositiveIntegerField(editable=False, verbose_name="attempts")),
                ("consumer", models.TextField(editable=False, verbose_name="consumer")),
                ("deliveries", models.PositiveIntegerField(editable=False, verbose_name="deliveries")),
            ],
            options={
                "verbose_name": "pending message",
                "verbose_name_plural": "pending messages",
                "permissions": (("release_pendingmessage", "Can release pending message"),),
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="RetryingMessage",
            fields=[
                ("id", models.CharField(editable=False, max_length=255, primary_key=True, serialize=False)),
                ("message_id", models.TextField(editable=False, verbose_name="message")),
                ("stream", models.TextField(editable=False, verbose_name="stream")),
                ("group", models.TextField(editable=False, verbose_name="group")),
                ("type", models.TextField(editable=False, verbose_name="type")),
                ("attempts", models.PositiveIntegerField(editable=False, verbose_name="attempts")),
            ],
            options={
                "verbose_name": "retrying message",
                "verbose_name_plural": "retrying messages",
                "permissions": (("discard_retryingmessage", "Can discard retrying message"),),
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
    ]
