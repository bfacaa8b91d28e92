"""The actions on a consumer group, as values: the question, the function, the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext_lazy as _

from ..operations import groups

__all__ = ["GROUP_ACTIONS", "GroupAction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAction:
    """Pausing or resuming a group. `question`, `done` and `before` take the `group`; `log` is for LogEntry.

    `do` takes stream, group and `by`, and returns whether it changed anything; if not, `before` is shown.
    """

    name: str
    button: Any
    question: Any
    consequence: Any
    done: Any
    before: Any
    log: Any
    do: Callable[..., bool]


_PAUSE: Final = GroupAction(
    name="pause",
    button=_("Pause"),
    question=_("Pause %(group)s?"),
    consequence=_(
        "No worker reads its messages until it is resumed, not even after a restart. Workers finish the "
        "messages that they have in hand. All others wait on the server."
    ),
    done=_("The group %(group)s is paused. Workers stop reading its messages within about a second."),
    before=_("The group %(group)s was paused before."),
    log=_("Paused."),
    do=groups.pause,
)
_RESUME: Final = GroupAction(
    name="resume",
    button=_("Resume"),
    question=_("Resume %(group)s?"),
    consequence=_("Its workers read its messages again, beginning with those that waited."),
    done=_("The group %(group)s is resumed."),
    before=_("The group %(group)s wasn't paused."),
    log=_("Resumed."),
    do=groups.resume,
)
GROUP_ACTIONS: Final[Mapping[str, GroupAction]] = {each.name: each for each in (_PAUSE, _RESUME)}
