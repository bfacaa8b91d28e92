"""The pages of Django's admin: dead letters, retrying, delayed and pending messages, and consumer groups.

`message_admin` is what those of messages share, `dead_letters`, `retrying_messages`, `delayed_messages` and
`pending_messages` what is each one's own. `changelist`, `listing` and `sources` put what `inspection` finds in place
of a queryset, `message_page` shows one message; `message_actions` are what can be done, `confirmation` asks before.
`consumer_groups` is a page by itself, `group_actions` what can be done there. Shown texts go through `text`: they may
hold anything.
"""

from .consumer_groups import ConsumerGroupAdmin
from .dead_letters import DeadLetterAdmin
from .delayed_messages import DelayedMessageAdmin
from .pending_messages import PendingMessageAdmin
from .retrying_messages import RetryingMessageAdmin

__all__ = [
    "ConsumerGroupAdmin",
    "DeadLetterAdmin",
    "DelayedMessageAdmin",
    "PendingMessageAdmin",
    "RetryingMessageAdmin",
]
