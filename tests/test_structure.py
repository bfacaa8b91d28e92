"""The house keeps its shape: small modules and functions, pure words, imports at the top.

import-linter holds the layers (`make lint`); here is what it can't say.
"""

import ast
import re
from pathlib import Path

import django_redis_streams

PACKAGE = Path(django_redis_streams.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)
WORDS = ("exceptions", "message", "outcomes", "retry", "keys")
EMPTY_NAMES = {"utils", "helpers", "manager", "managers", "common", "misc", "data", "base"}

LONGEST_MODULE = 400
LONGEST_FUNCTION = 40
# Longer ones, each as "module.py:function" with the reason why it stays in one piece.
LONG_FUNCTIONS: dict[str, str] = {}

# The rooms that speak with the server.
ASKING = {"store", "connections", "embedded"}
COMMAND = re.compile(r"X[A-Z]{3,}|[HZ](GET|SET|DEL|CARD|LEN|SCAN|REM|ADD)|EVAL(SHA)?|INFO|CONFIG|PING|CLIENT|EXISTS")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
IMPORTS = (ast.Import, ast.ImportFrom)


def name_of(path: Path) -> str:
    """A module by its path in the package."""
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    """The top-level module or package that a module belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The names that an import of another package brings."""
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names] if not node.level else []
    return [alias.name for alias in node.names]


def lines_of_code(function) -> int:
    """The length of a function without its docstring, which may be as long as it needs."""
    first = function.body[0]
    told = ast.get_docstring(function) is not None
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if told else 0)


def functions(path: Path):
    """Every function of a module, methods and inner ones too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def test_a_module_is_one_idea():
    """No module of the library is longer than 400 lines, nor named by a word that says nothing."""
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}
    assert [name_of(path) for path in MODULES if path.stem in EMPTY_NAMES] == []


def test_a_function_does_one_thing():
    """No function is longer than 40 lines, its docstring aside, without a reason that stands in this file."""
    longer = {
        f"{name_of(path)}:{function.name}"
        for path in MODULES
        for function in functions(path)
        if lines_of_code(function) > LONGEST_FUNCTION
    }
    assert longer == set(LONG_FUNCTIONS)


def test_an_import_inside_a_function_says_why():
    """A function-level import has a comment beside it or above it that tells the reason."""
    assert [where for path in MODULES for where in silent_imports(path)] == []


def silent_imports(path):
    """Imports inside functions, as "module.py:line", that no comment explains."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        f"{name_of(path)}:{node.lineno}"
        for function in functions(path)
        for node in ast.walk(function)
        if isinstance(node, IMPORTS) and not any("#" in line for line in lines[node.lineno - 2 : node.lineno])
    ]


def test_words_are_pure():
    """The modules that only name things know neither a server nor the project's settings."""
    for word in WORDS:
        tree = ast.parse((PACKAGE / f"{word}.py").read_text(encoding="utf-8"))
        names = [name for node in ast.walk(tree) if isinstance(node, IMPORTS) for name in imported(node)]
        assert not [name for name in names if name.startswith(("redis", "django.conf", "django.db"))], word


def test_commands_of_the_server_are_written_in_the_store():
    """Outside the store, and what makes connections and servers, no module spells a command of Redis."""
    for path in (path for path in MODULES if room(path) not in ASKING):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        spelled = [text for text in texts if isinstance(text, str) and COMMAND.fullmatch(text)]
        assert spelled == [], name_of(path)


def test_at_most_twelve_names_are_exported():
    """What `django_redis_streams` exports can be told in one breath."""
    assert len(django_redis_streams.__all__) <= 12
