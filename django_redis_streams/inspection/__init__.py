"""Looking at what went wrong and what waits: dead letters, retries, delayed and pending messages, and the books.

For the admin, for commands and for metrics. Nothing here changes anything. `records` are the rows, `lists` and
`paging` list, search and page them, `single` finds rows by their ids, `books` are the sums, `overview` is the state of
everything, `undeclared` finds streams that no setting names, `activity` is the last minutes, `workers` are the living
processes of workers, `story` is where one message stands; `visible` makes text fit to be shown. A listing notes a
server that can't be asked as a `Problem` of the page, beside the rows of the other servers. A setting that can't work
raises `ConfigurationError`, an undeclared stream `UnknownStream`.
"""

from .activity import Activities, Activity, GroupActivity, activity
from .books import Books, books, group_totals
from .consumers import ConsumerState, PendingScan, consumers, longest_pending
from .contents import StreamContents, stream_contents
from .lists import dead_letters, delayed, pending, retrying
from .overview import GroupState, Overview, ServerState, StreamState, overview
from .paging import Cursor, Page, Problem
from .records import DeadLetter, DelayedMessage, MessageRecord, PendingMessage, RetryingMessage
from .search import wanted
from .single import find_dead_letters, find_delayed, find_pending, find_retrying
from .story import Looked, Standing, State, Story
from .tracing import story
from .visible import visible
from .workers import RunningHandler, ServedGroup, WorkerProcess, Workers, workers

__all__ = [
    "Activities", "Activity", "Books", "ConsumerState", "Cursor", "DeadLetter", "DelayedMessage", "GroupActivity",
    "GroupState", "Looked", "MessageRecord", "Overview", "Page", "PendingMessage", "PendingScan", "Problem",
    "RetryingMessage", "RunningHandler", "ServedGroup", "ServerState", "Standing", "State", "Story", "StreamContents",
    "StreamState", "WorkerProcess", "Workers", "activity", "books", "consumers", "dead_letters", "delayed",
    "find_dead_letters", "find_delayed", "find_pending", "find_retrying", "group_totals", "longest_pending",
    "overview", "pending", "retrying", "story", "stream_contents", "visible", "wanted", "workers",
]  # fmt: skip
