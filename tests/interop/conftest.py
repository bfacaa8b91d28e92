"""Programs of Node, compiled from what stands beside this file; `make interop` installs what they need."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.notes import whole_lines
from tests.support.servers import Server

HERE = Path(__file__).parent
TSC = HERE / "node_modules/.bin/tsc"


class Consumer:
    """dist/consume.js as a process."""

    def __init__(self, directory: Path, url: str, stream: str, group: str, name: str, *options: str) -> None:
        self.name = name
        made = len(list(directory.glob("*.out")))
        self._out, self._err = directory / f"{made}.out", directory / f"{made}.err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                ["node", "dist/consume.js", stream, group, "--name", name, *options],
                cwd=HERE, env={**os.environ, "REDIS_URL": url}, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip

    @property
    def handled(self) -> list[dict[str, Any]]:
        """The messages that it has handled."""
        return [json.loads(line) for line in whole_lines(self._out)]

    @property
    def complaints(self) -> str:
        """What it has said beside that."""
        return self._err.read_text()

    def kill9(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """Ask it to end, and wait until it has, well."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0, self.complaints


class Node:
    """Starts programs of Node on a server; those that still run at the end are killed."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.consumers: list[Consumer] = []

    def produce(self, stream: str, *payloads: Any, options: tuple[str, ...] = (), url: str = "") -> list[str]:
        """Publish by dist/produce.js; the entry ids."""
        lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in payloads)
        return self._run(["dist/produce.js", stream, *options], lines, url).split()

    def add(self, *fields: str) -> str:
        """Append an entry with any fields to the stream "orders", by ioredis alone; its id."""
        program = """
            import { Redis } from "ioredis";
            const redis = new Redis(process.env.REDIS_URL);
            console.log(await redis.xadd("orders", "*", ...JSON.parse(process.argv[1])));
            redis.disconnect();
        """
        return self._run(["--input-type=module", "--eval", program, json.dumps(fields)]).strip()

    def consume(self, stream: str, group: str, name: str = "n1", *options: str, url: str = "") -> Consumer:
        """Start a consumer."""
        started = Consumer(self.directory, url or self.url, stream, group, name, *options)
        self.consumers.append(started)
        return started

    def _run(self, words: list[str], given: str = "", url: str = "") -> str:
        done = subprocess.run(
            ["node", *words],
            cwd=HERE, env={**os.environ, "REDIS_URL": url or self.url}, input=given, capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self) -> None:
        """Kill what still runs."""
        for each in self.consumers:
            each.kill9()


@pytest.fixture(scope="session")
def compiled() -> None:
    """The programs, compiled anew."""
    if not (TSC.exists() and shutil.which("node")):
        pytest.skip("no Node with the packages of tests/interop: make interop")
    done = subprocess.run([TSC], cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def node(compiled: None, server: Server, tmp_path: Path) -> Iterator[Node]:
    """Programs of Node on the run's server, which is empty."""
    server.raw().flushall()
    started = Node(tmp_path, str(server.socket))
    yield started
    started.end()
