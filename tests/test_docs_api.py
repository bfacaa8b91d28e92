"""docs/api.md says what is public: each name of it is there, and what the code exports is classified in it.

The names are those of the code: each public module's `__all__`. So a name that is added, renamed or removed turns a
test red until the page says the same.
"""

import ast
import re
from importlib import import_module
from pkgutil import iter_modules

import pytest

import django_redis_streams
from django_redis_streams import operations

from .support.documents import PAGES, Page, codes, page

API = page("docs/api.md")
ROOMS = {each.name for each in iter_modules(django_redis_streams.__path__)}
PUBLIC = re.findall(r"^## `(django_redis_streams[\w.]*)`$", API.text, re.MULTILINE)


def section(module: str) -> str:
    """What stands below a module's heading."""
    return API.text.split(f"\n## `{module}`\n")[1].split("\n## ")[0]


def public(module: str) -> set[str]:
    """The names that the module's table declares public."""
    rows = re.findall(r"^\| (`.+?) \|", section(module), re.MULTILINE)
    return {name for cell in rows for name in codes(cell)}


def internal(module: str) -> set[str]:
    """The names that the page declares the package's own, though the module exports them."""
    return {name for line in re.findall(r"^Not public: (.+)", section(module), re.MULTILINE) for name in codes(line)}


def exported(module: str) -> set[str]:
    """The names that the module exports."""
    return set(getattr(import_module(module), "__all__", ()))


def imports(shown: Page) -> list[tuple[str, str]]:
    """What the page's snippets import of the package, as (module, name)."""
    trees = [ast.parse(part.text) for part in shown.parts if part.kind == "python"]
    return [
        (node.module, alias.name)
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("django_redis_streams")
        for alias in node.names
    ]


@pytest.mark.parametrize("module", PUBLIC)
def test_a_public_module_exports_what_the_page_says(module: str) -> None:
    """Nothing is missing, nothing is made up, and nothing is both public and not."""
    assert public(module) | internal(module) == exported(module)
    assert public(module) & internal(module) == set()
    assert [name for name in public(module) if not hasattr(import_module(module), name)] == []


def test_every_module_is_public_or_not() -> None:
    """Each module at the top of the package stands on the page, and so does each of operations."""
    rooms = {name.split(".")[1] for name in PUBLIC if "." in name}
    closed = {name for row in API.table("Not public") for name in codes(row[0])}
    assert rooms | closed == ROOMS
    assert rooms & closed == set()
    assert {f"{operations.__name__}.{each.name}" for each in iter_modules(operations.__path__)} <= set(PUBLIC)


def test_pages_import_public_names_alone() -> None:
    """What a page tells its reader to import is promised."""
    found = {each for shown in PAGES for each in imports(shown)}
    assert len(found) > 10
    promised = {(module, name) for module in PUBLIC for name in public(module)}
    promised |= {tuple(module.rsplit(".", 1)) for module in PUBLIC if "." in module}
    assert found - promised == set()
