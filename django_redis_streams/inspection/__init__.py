"""Looking at what went wrong and what waits: dead letters, retries, delayed and pending messages, and the books.

For the admin, for commands and for metrics. Nothing here changes anything. `records` is what is seen, `lists` and
`paging` how it is read, searched and paged, `single` one by its id, `books` the sums, `overview` all at a glance,
`activity` what was done lately, `story` where one message stands, `visible` text made fit to be shown. Of a listing, a
server that can't be asked is a `Problem` of the page, beside what other servers said. A setting that can't work raises
`ConfigurationError`, a stream that isn't declared `UnknownStream`.
"""

from .activity import Activities, Activity, GroupActivity, activity
from .books import Books, books, group_totals
from .consumers import ConsumerState, PendingScan, consumers, longest_pending
from .contents import StreamContents, stream_contents
from .lists import dead_letters, delayed, pending, retrying
from .overview import GroupState, Overview, StreamState, overview
from .paging import Cursor, Page, Problem
from .records import DeadLetter, DelayedMessage, MessageRecord, PendingMessage, RetryingMessage
from .search import wanted
from .single import find_dead_letters, find_delayed, find_pending, find_retrying
from .story import Looked, Standing, State, Story
from .tracing import story
from .visible import visible

__all__ = [
    "Activities", "Activity", "Books", "ConsumerState", "Cursor", "DeadLetter", "DelayedMessage", "GroupActivity",
    "GroupState", "Looked", "MessageRecord", "Overview", "Page", "PendingMessage", "PendingScan", "Problem",
    "RetryingMessage", "Standing", "State", "Story", "StreamContents", "StreamState", "activity", "books", "consumers",
    "dead_letters", "delayed", "find_dead_letters", "find_delayed", "find_pending", "find_retrying", "group_totals",
    "longest_pending", "overview", "pending", "retrying", "story", "stream_contents", "visible", "wanted",
]  # fmt: skip
