"""The streams of the stage: one without an outbox, one with; and on each a group with the inbox, and one without."""

# A worker that stands still for longer than CLAIM_IDLE loses what it holds: short, so that a trial sees that.
CLAIM_IDLE = 2.0
# Chance may kill a message's worker often: no message of the stage ends its worker by itself.
_GROUP = {"BACKOFF": (0.05, 0.2), "CLAIM_IDLE": CLAIM_IDLE, "MAX_CRASHES": 20}

STREAMS = {
    "bare": {"GROUPS": {"plain": _GROUP, "once": _GROUP}},
    "kept": {"OUTBOX": "always", "GROUPS": {"batch": _GROUP, "async": _GROUP}},
}
GROUPS = {name: tuple(declared["GROUPS"]) for name, declared in STREAMS.items()}
WITH_INBOX = {("bare", "once"), ("kept", "batch")}
