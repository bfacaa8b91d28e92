"""The pages of Django's admin: dead letters, retrying, delayed and pending messages, and consumer groups.

The message pages share `message_admin`; `dead_letters`, `retrying_messages`, `delayed_messages` and
`pending_messages` add the parts of each kind, as does `unsent_messages` where the app of the outbox is installed.
`changelist`, `listing` and `sources` put the rows of `inspection` in the place of a queryset, `message_page` shows one
message. `message_actions` declares the actions, `confirmation` asks before it runs one. `consumer_groups` is a separate
page, with the actions of `group_actions`. Shown texts go through `text`, as they may hold any character.
"""

from ..outbox.presence import is_installed
from .consumer_groups import ConsumerGroupAdmin
from .dead_letters import DeadLetterAdmin
from .delayed_messages import DelayedMessageAdmin
from .pending_messages import PendingMessageAdmin
from .retrying_messages import RetryingMessageAdmin

if is_installed():
    from . import unsent_messages  # noqa: F401  registers its page; a model of an app that isn't there can't be imported

__all__ = [
    "ConsumerGroupAdmin",
    "DeadLetterAdmin",
    "DelayedMessageAdmin",
    "PendingMessageAdmin",
    "RetryingMessageAdmin",
]
