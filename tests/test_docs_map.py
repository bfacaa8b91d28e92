"""The map in docs/contributing.md is that of the code, and each file that a page names is there."""

import re
import tomllib
from collections.abc import Iterator

import pytest

from .support.documents import PAGES, ROOT, Page, codes, page

PACKAGE = ROOT / "django_redis_streams"
CONTRIBUTING = page("docs/contributing.md")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
FLOORS = {
    contract["containers"][0]: [set(re.findall(r"\w+", floor)) for floor in contract["layers"]]
    for contract in CONTRACTS
    if contract["type"] == "layers"
}
# Files of a reader's own project, and what the benchmarks write.
MEASURED = {"build/benchmarks/benchmarks.json", "build/benchmarks/costs.json"}
NOT_OURS = {"stream_handlers.py", "manage.py", "settings.py", "conftest.py"} | MEASURED


def tables(shown: Page) -> Iterator[list[set[str]]]:
    """The names in each row of each table of a page."""
    for table in re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", shown.text, re.MULTILINE):
        yield [set(codes(line)) for line in table.splitlines()]


@pytest.mark.parametrize("container", FLOORS)
def test_the_map_has_the_floors_that_the_contracts_hold(container: str) -> None:
    """Each floor is a row of one table, in the order of the contract."""
    assert FLOORS[container] in list(tables(CONTRIBUTING))


@pytest.mark.parametrize("shown", PAGES, ids=lambda each: each.name)
def test_files_that_a_page_names_are_there(shown: Page) -> None:
    """By their path in the project or in the package."""
    named = set(re.findall(r"`([\w./-]+\.(?:py|lua|json|toml|md|yml|sh))`", shown.text)) - NOT_OURS
    assert [each for each in named if not any((root / each).exists() for root in (ROOT, PACKAGE))] == []


def test_each_target_of_make_is_told() -> None:
    """The table of commands has each that the Makefile declares."""
    declared = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    told = {name for row in CONTRIBUTING.table("Set-up") for name in codes(row[0])}
    assert {f"make {each}" for each in declared} - {"make anew"} <= told
