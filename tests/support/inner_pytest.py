"""A pytest that a test runs."""

import os


def surroundings(**more: str) -> dict[str, str]:
    """Its environment: without what was meant for the pytest that runs the test, or that one's plugins."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **more}
