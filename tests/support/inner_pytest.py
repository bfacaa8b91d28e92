"""A pytest run inside a test."""

import os


def surroundings(**more: str) -> dict[str, str]:
    """Return its environment: without the variables and plugins of the pytest that runs the test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **more}
