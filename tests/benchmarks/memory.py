"""How much memory of the server messages take."""

from .bench import Bench
from .figures import Comparison, figure

_MESSAGES = 100_000


@figure("memory")
def memory(bench: Bench) -> Comparison:
    """Bytes of the server per message in the stream: an entry of one field, the payload as JSON, against ours."""
    return bench.compare(
        "bytes",
        ("bare", lambda: _bytes_each(bench, ours=False)),
        ("ours", lambda: _bytes_each(bench, ours=True)),
        rounds=1,
    )


def _bytes_each(bench: Bench, *, ours: bool) -> float:
    """Return by how much `used_memory` falls when the messages are deleted, per message."""
    bench.stock(_MESSAGES, ours=ours)
    used = _used(bench)
    bench.client.flushdb()
    return (used - _used(bench)) / _MESSAGES


def _used(bench: Bench) -> int:
    return int(bench.client.info("memory")["used_memory"])
