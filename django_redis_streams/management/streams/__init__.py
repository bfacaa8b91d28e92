"""The sub-commands of `manage.py streams`."""

from ..subcommands import Subcommand
from .consumers import CONSUMERS, REMOVE_CONSUMERS
from .delayed import DISCARD_DELAYED, LIST_DELAYED, PUBLISH_DELAYED
from .doctor import DOCTOR
from .groups import CREATE_GROUP, DELETE_GROUP, RESET_GROUP
from .health import HEALTH
from .outbox import DISCARD_OUTBOX, LIST_OUTBOX, RELAY_OUTBOX
from .pause import PAUSE, RESUME
from .pending import PENDING
from .publish import PUBLISH
from .release import RELEASE
from .retries import DISCARD_RETRIES, LIST_RETRIES
from .show import SHOW
from .status import STATUS
from .tail import TAIL
from .trim import TRIM
from .workers import WORKERS

__all__ = ["SUBCOMMANDS", "Subcommand"]

SUBCOMMANDS: tuple[Subcommand, ...] = (
    STATUS, DOCTOR, TAIL, SHOW, WORKERS, CONSUMERS, REMOVE_CONSUMERS, PENDING, RELEASE, LIST_RETRIES, DISCARD_RETRIES,
    LIST_DELAYED, PUBLISH_DELAYED, DISCARD_DELAYED, CREATE_GROUP, RESET_GROUP, DELETE_GROUP, PAUSE, RESUME, PUBLISH,
    TRIM, HEALTH, LIST_OUTBOX, RELAY_OUTBOX, DISCARD_OUTBOX,
)  # fmt: skip
