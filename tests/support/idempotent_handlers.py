"""The idempotent handler of the documents, for two groups: one transaction does the work and marks it as done."""

from django.contrib.auth.models import Group

from django_redis_streams.handlers import handler
from django_redis_streams.message import Message


@handler("orders", group="billing", atomic=True)
@handler("orders", group="loyalty", atomic=True)
def work(message: Message) -> None:
    """Do the message's work once."""
    _, new = Group.objects.get_or_create(name=f"handled {message.group} {message.id}")
    if new:
        Group.objects.create(name=f"work {message.group} {message.id}")
