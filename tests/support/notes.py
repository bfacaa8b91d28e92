"""Reading what another process writes."""

from pathlib import Path


def whole_lines(path: Path) -> list[str]:
    """Return the lines of a file to which others append; none if it isn't there yet.

    A line that is being written is left out: a reader may see the first part of what one write appends.
    """
    if not path.exists():
        return []
    return [line.removesuffix("\n") for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
