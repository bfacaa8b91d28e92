"""How several processes share what collecting costs."""

import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def import_share(config: pytest.Config) -> None:
    """Import this process's share of the tests' modules first, if it is one of several of a run.

    Each process imports all of them. In a new checkout each would compile all of them, too, at the same time as the
    others do. In this way each compiles some, and finds the others compiled. What can't be imported is collected as
    ever, and told of then.
    """
    if (worker := os.environ.get("PYTEST_XDIST_WORKER", "")).startswith("gw"):
        count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        for path in sorted(_modules(config))[int(worker[2:]) % count :: count]:
            with suppress(Exception, pytest.skip.Exception):
                import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


def _modules(config: pytest.Config) -> Iterator[Path]:
    """Yield the paths of the modules that the run was asked for."""
    ignored = {Path(each).resolve() for each in config.getoption("ignore") or ()}
    for argument in config.args:
        path = Path(argument.partition("::")[0]).resolve()
        for each in path.rglob("test_*.py") if path.is_dir() else (path,):
            if each not in ignored:
                yield each
