"""The few field names that mean something in an entry.

They are CloudEvents' names where it has one
(https://github.com/cloudevents/spec/blob/main/cloudevents/spec.md#context-attributes).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# Name, value, name, value …: as the server gives them, in order, duplicates too.
Fields = Sequence[str]

ENVELOPE: Final = frozenset({"id", "type", "data", "time", "key", "headers"})
FLAT_ID: Final = "drs-id"
CARRIED: Final = "drs"
FOLDED: Final = "drs-folded"

# Written out: a repeated group costs a third more.
UUID: Final = re.compile("-".join("[0-9a-fA-F]" * digits for digits in (8, 4, 4, 4, 12)))
