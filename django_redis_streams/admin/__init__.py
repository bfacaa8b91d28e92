"""The pages of Django's admin: dead letters, retrying, delayed and pending messages.

`message_admin` is what they share, `dead_letters`, `retrying_messages`, `delayed_messages` and `pending_messages`
what is each one's own. `changelist`, `listing` and `kinds` put what `inspection` finds in the place of a queryset,
`message_page` shows one message; `verbs` are what can be done, `confirmation` asks before. Shown texts go through
`text`: they may hold anything.
"""

from .dead_letters import DeadLetterAdmin
from .delayed_messages import DelayedMessageAdmin
from .pending_messages import PendingMessageAdmin
from .retrying_messages import RetryingMessageAdmin

__all__ = ["DeadLetterAdmin", "DelayedMessageAdmin", "PendingMessageAdmin", "RetryingMessageAdmin"]
