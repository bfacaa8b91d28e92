"""The JSON that `manage.py deadletters` writes with `--json`: a dead letter, and how far a search went."""

from __future__ import annotations

from typing import Any

from ...inspection import DeadLetter, visible
from ...operations.dead_letters import Search

__all__ = ["dead_letter_as_json", "search_as_json"]


def dead_letter_as_json(row: DeadLetter) -> dict[str, Any]:
    """Return a dead letter as JSON, with bytes that aren't UTF-8 written out."""
    return {
        "id": row.entry_id, "stream": row.stream, "group": visible(row.group), "lane": visible(row.lane),
        "message_id": visible(row.message_id), "type": visible(row.type), "reason": visible(row.reason),
        "native": row.native, "attempts": row.attempts, "handler": visible(row.handler), "error": visible(row.error),
        "traceback": visible(row.traceback), "dead_lettered_at": row.dead_lettered_at.isoformat(),
        "first_failed": row.first_failed and row.first_failed.isoformat(),
        "last_failed": row.last_failed and row.last_failed.isoformat(),
        "replays": row.replays, "replayed_by": visible(row.replayed_by), "edited_by": visible(row.edited_by),
        "published_as": f"{visible(row.key)} {visible(row.published_id)}", "payload": visible(row.payload),
        "original_payload": visible(row.original_payload),
        "fields": [[visible(name), visible(value)] for name, value in row.pairs],
    }  # fmt: skip


def search_as_json(look: Search) -> dict[str, Any]:
    """Return how far a search went."""
    return {"searched": look.searched, "total": look.total, "finished": look.finished}
