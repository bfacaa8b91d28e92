"""A handler for each group of `idle_streams`, which no message ever reaches."""

from django_redis_streams import Message, handler

from .idle_streams import DECLARED


def ignore(message: Message) -> None:
    """Do nothing."""


for _stream, _declared in DECLARED.items():
    for _group in _declared["GROUPS"]:
        handler(_stream, group=_group)(ignore)
