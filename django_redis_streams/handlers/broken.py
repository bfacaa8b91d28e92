"""Modules of handlers that can't be imported: what is told of one, and which groups are left without its handlers."""

from __future__ import annotations

import ast
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, Self

__all__ = ["BrokenModule"]

# The name by which a module declares a handler.
_DECORATOR: Final = "handler"

Groups = frozenset[tuple[str, str]]


class _Untold(Exception):
    """The text doesn't say for which group a handler is."""


@dataclass(frozen=True, slots=True)
class BrokenModule:
    """A module of handlers that can't be imported.

    `groups` are those that its text names, each by (stream, group); None where these can't be read from it.
    """

    name: str
    error: Exception
    groups: Groups | None

    @classmethod
    def of(cls, name: str, error: Exception) -> Self:
        """Return what is known of a module from the error of importing it, and from its text."""
        return cls(name, error, _groups(name))

    def may_serve(self, stream: str, group: str) -> bool:
        """Return whether it may have handlers for a group, so that the group would be served without them."""
        return self.groups is None or (stream, group) in self.groups

    def __str__(self) -> str:
        said = self.error.msg if isinstance(self.error, SyntaxError) else self.error
        return f"{self.name} can't be imported: {type(self.error).__name__}: {said} ({self._place()})."

    def _place(self) -> str:
        if isinstance(self.error, SyntaxError) and self.error.filename:
            return f"{self.error.filename}, line {self.error.lineno}"
        frames = [each for each in traceback.extract_tb(self.error.__traceback__) if each.filename != __file__]
        # Below the module's own line there may be lines of a library, above it those of the import.
        own = [each for each in frames if each.filename == _path(self.name)] or frames
        return f"{own[-1].filename}, line {own[-1].lineno}" if own else "no line is known"


def _path(name: str) -> str:
    spec = _spec(name)
    return (spec.origin or "") if spec is not None else ""


def _spec(name: str) -> Any:
    try:
        return find_spec(name)
    except Exception:  # noqa: BLE001  a package on the way may raise anything
        return None


def _groups(name: str) -> Groups | None:
    """Return the groups that a module's text names, None where there are none, or not all can be told."""
    spec = _spec(name)
    try:
        tree = ast.parse(spec.loader.get_source(name))
        return frozenset(_declared(tree)) or None
    except (_Untold, SyntaxError, ValueError, TypeError, AttributeError, ImportError, OSError):
        return None


def _declared(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the group of each call of the decorator. Raises `_Untold`."""
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call) and _is_decorator(each.func)]
    called = {id(each.func) for each in calls}
    if any(_is_decorator(each) and id(each) not in called for each in ast.walk(tree)):
        raise _Untold  # it goes by another name there, or is called elsewhere
    for call in calls:
        given = {each.arg: each.value for each in call.keywords}
        stream = call.args[0] if call.args else given.get("stream")
        yield _literal(stream), _literal(given.get("group"))


def _is_decorator(node: ast.AST) -> bool:
    if isinstance(node, ast.alias):
        return node.name == _DECORATOR and node.asname is not None
    return (isinstance(node, ast.Name) and node.id == _DECORATOR) or (
        isinstance(node, ast.Attribute) and node.attr == _DECORATOR
    )


def _literal(node: ast.AST | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise _Untold
