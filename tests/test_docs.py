"""The documents say what is: each snippet runs, and each name, number and link in them is right.

Snippets of Python run page by page, on a real server; a comment `<!-- check` holds what must be true then. A page
of `TUTORIALS` is followed word by word, in a new directory.
"""

import ast
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING
from dataclasses import fields as fields_of
from importlib import import_module
from inspect import signature
from pkgutil import resolve_name
from typing import Any

import pytest
from django.apps import apps
from django.conf import global_settings
from django.core.management.base import BaseCommand
from django.dispatch import Signal
from django.test.utils import isolate_apps

from django_redis_streams import Message, follow, handler, handlers, inspection, publish, publishes, signals
from django_redis_streams.conf import schema
from django_redis_streams.diagnosis import Code
from django_redis_streams.metrics import names
from django_redis_streams.outcomes import Reason
from django_redis_streams.testing import drain
from django_redis_streams.testing.isolation import SERVERS
from django_redis_streams.wire import RedeliveryMetadata
from django_redis_streams.wire.names import ENVELOPE

from .chaos.nemeses import NEMESES
from .chaos.promises import NOTICED_UNDER
from .support.documents import PAGES, ROOT, Page, codes, page
from .support.snippets import Reader, Snippets, parser_of

PACKAGE = ROOT / "django_redis_streams"
TUTORIALS = [page("README.md"), page("docs/quickstart.md")]
SHOWN = [each for each in PAGES if each not in TUTORIALS and each.parts]

parse = import_module("django_redis_streams.conf.parse")
LEVELS = {
    "Top": (parse._TOP, schema.Config),
    "A connection": (parse._CONNECTION, schema.ConnectionConfig),
    "A stream": (parse._STREAM, schema.StreamConfig),
    "A group": (parse._GROUP, schema.GroupConfig),
    "A model": (parse._MODEL, schema.ModelEvents),
}
SETTINGS = {key for table, _ in LEVELS.values() for key in table} | {"REDIS_STREAMS"}
CHECKS = {
    found for path in PACKAGE.glob("c*/*.py") for found in re.findall(r"""[."]([EW]0\d\d)"[,)]""", path.read_text())
}
# Words in capitals that are neither settings nor commands of the server nor signals of the system.
WORDS = {
    "CASCADE",
    "DB_CASCADE",
    "DB_SET_DEFAULT",
    "DB_SET_NULL",
    "SET_DEFAULT",
    "SET_NULL",
    "AUTOCOMMIT",
    "BASE_DIR",
    "BEGIN",
    "BOUNDS",
    "COMMIT",
    "CONN_MAX_AGE",
    "DATABASES",
    "IMMEDIATE",
    "RAISE",
    "EDITOR",
    "METRICS_TOKEN",
    "NAME",
    "NOWAIT",
    "TEST_CLUSTER",
    "TEST_SENTINELS",
    "TEST_SERVER",
    "PYTHONASYNCIODEBUG",
    "PYTHONOPTIMIZE",
    "ROLLBACK",
    "UNBLOCK",
    "UUID",
    "VALUE",
    "VISUAL",
    "WARNING",
}
WORDS |= set(re.findall(r"\$\(([A-Z]+)\)", (ROOT / "Makefile").read_text()))


def arguments_of(function: Callable[..., Any], *without: str) -> set[str]:
    """The names of a function's arguments."""
    return set(signature(function).parameters) - set(without)


def attributes() -> set[str]:
    """What a handler reads of a message."""
    return {name for name in dir(Message) if not name.startswith("_")} - {"reject", "retry"}


def options(parser: Any) -> set[str]:
    """The options of a command that aren't those of every command."""
    every = {action.dest for action in BaseCommand().create_parser("", "")._actions}
    actions = [action for action in parser._actions if action.dest not in every]
    return {action.option_strings[0] if action.option_strings else action.dest for action in actions}


def below(command: str, name: str) -> Any:
    """The parser of a sub-command."""
    (names,) = [each for each in parser_of(command)._actions if each.dest == "subcommand"]
    return names.choices[name]


def counters() -> set[str]:
    """What the scripts count."""
    scripts = "".join(path.read_text() for path in PACKAGE.glob("store/**/*.*") if path.suffix in {".lua", ".py"})
    sides = "".join(re.findall(r"local (?:ADDS|TAKES) = \{([^}]+)\}", scripts))
    return set(re.findall(r"'HINCRBY', [\w\[\]]+, '([\w-]+)'", scripts)) | set(re.findall(r"'([\w-]+)'", sides))


def attributes_of_spans() -> set[str]:
    """What tracing writes on spans, events and metrics."""
    written = "".join(path.read_text() for path in PACKAGE.glob("contrib/opentelemetry/*.py"))
    names = set(re.findall(r'"((?:messaging|redis_streams|code|error|server)\.[\w.]+)"', written))
    return names - metrics_of_tracing()


def metrics_of_tracing() -> set[str]:
    """The metrics of the same app."""
    written = (PACKAGE / "contrib/opentelemetry/measuring.py").read_text()
    return set(re.findall(r'create_\w+\(\s*"([\w.]+)"', written))


def permissions() -> set[str]:
    """The permissions of the models of the admin."""
    models = list(apps.get_app_config("django_redis_streams").get_models())
    defaults = {f"{each}_{model._meta.model_name}" for model in models for each in model._meta.default_permissions}
    return defaults | {name for model in models for name, _ in model._meta.permissions}


def refusals(accept: Callable[[Any], Any]) -> Iterator[str]:
    """What is said of values that can't be taken."""
    for wrong in (object(), 0, []):
        try:
            accept(wrong)
        except ValueError as error:
            yield str(error)


def of_state(*, servers: bool) -> set[str]:
    """The names of the metrics that a web process exports, of servers or of streams and groups."""
    return {each.name for each in (*names.GAUGES, *names.TOTALS) if ("connection" in each.labels) == servers}


def alerts() -> list[str]:
    """The names of the alert rules."""
    return re.findall(r"- alert: (\w+)", (ROOT / "docs/prometheus-alerts.yml").read_text())


def declared_signals() -> set[str]:
    """The names of all signals."""
    return {name for name, each in vars(signals).items() if isinstance(each, Signal)}


TABLES: list[tuple[str, str, Iterable[str]]] = [
    ("docs/worker.md", "The worker", options(parser_of("runconsumers"))),
    *(("docs/worker.md", "Pause", options(below("streams", name))) for name in ("pause", "resume")),
    ("docs/dead-letters.md", "Which ones", options(below("deadletters", "list"))),
    ("docs/dead-letters.md", "Replay", options(below("deadletters", "replay")) - options(below("deadletters", "list"))),
    (
        "docs/dead-letters.md",
        "Discard",
        options(below("deadletters", "discard")) - options(below("deadletters", "list")),
    ),
    ("docs/commands.md", "Publish", options(below("streams", "publish"))),
    ("docs/troubleshooting.md", "Troubleshooting", options(below("streams", "doctor"))),
    ("docs/troubleshooting.md", "All findings", list(Code)),
    ("docs/commands.md", "Tail", options(below("streams", "tail"))),
    ("docs/commands.md", "Show", options(below("streams", "show"))),
    ("docs/commands.md", "Where it stands", list(inspection.State)),
    ("docs/following.md", "Following without a group", arguments_of(follow)),
    ("docs/signals.md", "Signals", {each for each in declared_signals() if not each.startswith("worker_process_")}),
    ("docs/signals.md", "Processes", {each for each in declared_signals() if each.startswith("worker_process_")}),
    ("docs/handlers.md", "The message", attributes()),
    ("docs/handlers.md", "Options", arguments_of(handler, "stream")),
    ("docs/publishing.md", "Publishing", arguments_of(publish)),
    ("docs/publishing.md", "Models", arguments_of(publishes)),
    ("docs/testing.md", "Run the handlers", arguments_of(drain)),
    ("docs/testing.md", "Which server", [f'"{each}"' for each in SERVERS]),
    ("docs/guarantees.md", "The books", counters()),
    ("docs/wire-format.md", "The envelope", ENVELOPE),
    ("docs/wire-format.md", "Carried entries", {field.name for field in fields_of(RedeliveryMetadata)}),
    ("docs/admin.md", "Reasons", list(Reason)),
    ("docs/monitoring.md", "What waits: the web process", of_state(servers=False)),
    ("docs/monitoring.md", "What is committed and not sent", {each.name for each in names.OUTBOX}),
    ("docs/monitoring.md", "How the servers are", of_state(servers=True)),
    ("docs/monitoring.md", "The alerts", alerts()),
    ("docs/tracing.md", "Attributes", attributes_of_spans()),
    ("docs/tracing.md", "Metrics", metrics_of_tracing()),
    ("docs/admin.md", "Permissions", permissions()),
    ("docs/chaos.md", "The nemeses", NEMESES),
    ("docs/chaos.md", "Mutants", NOTICED_UNDER),
    *(("docs/settings.md", heading, table) for heading, (table, _) in LEVELS.items()),
]

each_page = pytest.mark.parametrize("shown", PAGES, ids=lambda each: each.name)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("shown", SHOWN, ids=lambda each: each.name)
def test_the_snippets_of_a_page_run(shown: Page, server: Any, streams: Callable[..., None], settings: Any) -> None:
    """Each fence is of a known kind, and does what the page says."""
    snippets = Snippets(server, settings, streams=streams, pytest=pytest)
    try:
        with isolate_apps("testproject.shop"), handlers.isolated():
            for part in shown.parts:
                getattr(snippets, part.kind)(part.text)
    finally:
        snippets.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda each: each.name)
def test_a_tutorial_can_be_followed(tutorial: Page, tmp_path: Any) -> None:
    """Whoever types what the page shows sees what the page shows."""
    reader = Reader(tmp_path)
    for part in tutorial.parts:
        getattr(reader, part.kind)(part.text)


@each_page
def test_links_lead_somewhere(shown: Page) -> None:
    """Each link to a page, a heading or a file of the project leads there."""
    for path, anchor in shown.links():
        target = (shown.path.parent / path).resolve() if path else shown.path
        assert target.exists(), path
        assert not anchor or anchor in Page(target).anchors, f"{path}#{anchor}"


@pytest.mark.parametrize(("name", "heading", "known"), TABLES, ids=lambda each: each if isinstance(each, str) else "")
def test_a_table_names_all_there_is(name: str, heading: str, known: Iterable[str]) -> None:
    """A reference leaves nothing out, and names nothing that isn't there."""
    assert {each for row in page(name).table(heading) for each in codes(row[0])} == set(known)


@pytest.mark.parametrize("heading", LEVELS)
def test_settings_have_the_defaults_and_errors_that_are_told(heading: str) -> None:
    """Each default is the one of the schema, and what a value is refused with stands beside it."""
    table, schema_class = LEVELS[heading]
    defaults = {
        each.name: each.default_factory() if each.default is MISSING else each.default
        for each in fields_of(schema_class)
        if (each.default, each.default_factory) != (MISSING, MISSING)
    }
    for key, default, _, expected in page("docs/settings.md").table(heading):
        attribute, accept = table[codes(key)[0]]
        if default != "required":
            told = ast.literal_eval(codes(default)[0])
            actual = defaults.get(attribute)
            assert told == (list(actual) if isinstance(told, list) else actual or told if told == {} else actual), key
        assert f"expected {expected}" in set(refusals(accept)), key


def test_every_check_is_explained() -> None:
    """Each id that a check reports has a row, and each row a check."""
    assert set(re.findall(r"^\| ([EW]\d+) ", page("docs/checks.md").text, re.MULTILINE)) == CHECKS


def test_each_finding_has_the_level_that_is_told() -> None:
    """And each symptom leads to findings that there are."""
    shown = page("docs/troubleshooting.md")
    assert {codes(name)[0]: level for name, level, _ in shown.table("All findings")} == {
        each.value: each.level.value for each in Code
    }
    for heading in ("Messages aren't consumed", "Messages pile up", "Memory grows"):
        for _, found in shown.table(heading):
            assert {each for each in codes(found) if each.islower()} <= set(Code)


def test_every_page_can_be_found() -> None:
    """The README leads to the index, and that to each page."""
    names = {each.path.name for each in PAGES if each.path.parent.name == "docs"} - {"index.md"}
    assert names <= {path for path, _ in page("docs/index.md").links()}
    assert ("docs/index.md", "") in page("README.md").links()


def test_the_readme_is_read_in_a_minute() -> None:
    """It has at most 700 words."""
    assert len(page("README.md").text.split()) <= 700


def test_each_promise_is_held_by_a_test() -> None:
    """Each row of the promises' table names tests that are there."""
    for promise, held_by in page("docs/guarantees.md").table("What is tested"):
        assert codes(held_by), promise
        for path, _, name in (each.partition("::") for each in codes(held_by)):
            assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


def test_each_state_is_explained() -> None:
    """The lifecycle's diagram and table have the same states."""
    lifecycle = page("docs/lifecycle.md")
    rows = lifecycle.table("The states, and where they are on the server")
    assert {row[0] for row in rows} == set(re.findall(r'state "(.+)" as', lifecycle.text))


@each_page
def test_names_are_those_of_the_code(shown: Page, server: Any) -> None:
    """Words in capitals are settings or commands, ids are checks, dotted names can be imported."""
    told, commands = codes(shown.text), {name.upper() for name in server.raw().command()}
    for word in {word for each in told for word in re.findall(r"\b[A-Z][A-Z_]{2,}\b", each)}:
        assert word in SETTINGS | WORDS | commands or hasattr(signal, word) or hasattr(global_settings, word), word
    for identity in re.findall(r"\b[EW]0\d\d\b", shown.text):
        assert identity in CHECKS
    for name in {name for each in told for name in re.findall(r"\bdjango_redis_streams\.\w+(?:\.\w+)*", each)}:
        last = name.rpartition(".")[2]
        assert last in CHECKS | permissions() or resolve_name(name), name
