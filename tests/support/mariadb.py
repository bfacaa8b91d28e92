"""A MariaDB server for a test, from the machine's programs."""

import fcntl
import importlib.util
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from .waiting import wait_until

NEEDS = "MariaDB: apt-get install mariadb-server, and pip install pymysql"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
_NAME = "streams"


def programs() -> dict[str, str] | None:
    """Return the paths of the server's programs by their names; None where one is missing, or the client's library."""
    names = ("mariadb-install-db", "mariadbd", "mariadb-admin")
    found = {name: path for name in names if (path := shutil.which(name, path=_PATH))}
    return found if len(found) == len(names) and importlib.util.find_spec("pymysql") else None


def use_pymysql() -> None:
    """Let Django's backend work with pymysql, which needs no compiler, instead of mysqlclient."""
    import pymysql  # noqa: PLC0415  not everybody has it

    pymysql.version_info = (2, 2, 1, "final", 0)  # of mysqlclient, which Django asks for
    pymysql.install_as_MySQLdb()


class Mariadb:
    """One server on a unix socket in its own directory; root needs no password."""

    def __init__(self, programs: dict[str, str]) -> None:
        use_pymysql()
        self.directory = Path(tempfile.mkdtemp(prefix="streams-", dir="/tmp"))
        self._programs = programs
        self._user = [] if os.getuid() else ["--user=mysql"]
        if self._user:
            shutil.chown(self.directory, "mysql")
        self._data = f"--datadir={self.directory / 'data'}"
        install = [programs["mariadb-install-db"], "--no-defaults", self._data, *self._user]
        install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        # One at a time: beside another it fails now and then.
        with (Path(tempfile.gettempdir()) / "streams-mariadb-install.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            installed = subprocess.run(
                install, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        assert installed.returncode == 0, installed.stdout
        options = [f"--socket={self._socket}", "--skip-networking", f"--pid-file={self.directory / 'pid'}"]
        options += ["--character-set-server=utf8mb4", "--innodb-buffer-pool-size=16M"]
        options += ["--innodb-flush-log-at-trx-commit=0"]
        self._process = subprocess.Popen(
            [programs["mariadbd"], "--no-defaults", self._data, *self._user, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: self._admin("ping"), "an answer of MariaDB", deadline=60)
        self._admin("create", _NAME)

    @property
    def settings(self) -> dict[str, object]:
        """The entry of DATABASES for this server."""
        return {"ENGINE": "django.db.backends.mysql", "NAME": _NAME, "USER": "root", "HOST": self._socket}

    def stop(self) -> None:
        """End the server, and remove its files."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _socket(self) -> str:
        return str(self.directory / "mariadb.sock")

    def _admin(self, *words: str) -> bool:
        command = [self._programs["mariadb-admin"], "--no-defaults", f"--socket={self._socket}", "--user=root", *words]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
