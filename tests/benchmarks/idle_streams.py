"""What `idle` serves: one stream of many groups, and many streams of one group each."""

__all__ = ["DECLARED", "GROUPS", "STREAM", "STREAMS"]

STREAM = "orders"
GROUPS = tuple(f"group-{number}" for number in range(200))
STREAMS = tuple(f"orders-{number}" for number in range(500))

# As the setting STREAMS has it.
DECLARED: dict[str, dict[str, dict[str, object]]] = {
    STREAM: {"GROUPS": {name: {} for name in GROUPS}},
    **{name: {"GROUPS": {"billing": {}}} for name in STREAMS},
}
