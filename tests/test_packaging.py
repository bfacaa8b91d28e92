"""What is installed from the wheel is the whole library and nothing else."""

import re
import subprocess
import sys
import tomllib
from email.parser import Parser
from importlib import metadata
from pathlib import Path
from tarfile import TarFile
from zipfile import ZipFile

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "django_redis_streams"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that hatchling makes of this tree, opened."""
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")))
    with ZipFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def described(wheel):
    """What the wheel says of itself."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


@pytest.fixture(scope="module")
def project():
    """The table `project` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_wheel_holds_every_file_of_the_package(wheel):
    """Scripts, templates, migrations and translations are installed along with the modules."""
    installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    in_tree = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert installed == in_tree


@pytest.mark.parametrize(
    "pattern",
    [
        r"/py\.typed$",
        r"/store/scripts/(parts/)?\w+\.lua$",
        r"/connections/fake\.lua$",
        r"/migrations/0001_initial\.py$",
        r"/templates/.+\.html$",
        r"/management/commands/runconsumers\.py$",
    ],
)
def test_wheel_holds_what_is_easily_forgotten(wheel, pattern):
    """Files that Python doesn't import, but that the library needs, are there."""
    assert any(re.search(pattern, name) for name in wheel.namelist())


def test_the_sdist_leaves_out_what_npm_makes(tmp_path):
    """The programs of Node that tests run are in it; their packages, and what is compiled, are not."""
    for name in ("pyproject.toml", ".gitignore", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for name in ("package.json", "consume.ts", "dist/consume.js", "node_modules/ioredis/package.json"):
        path = tmp_path / "tests/interop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (path,) = SdistBuilder(str(tmp_path)).build(directory=str(tmp_path / "out"))
    with TarFile.open(path) as opened:
        names = {name.partition("/tests/interop/")[2] for name in opened.getnames() if "/tests/interop/" in name}
    assert names == {"package.json", "consume.ts"}


def test_licence_is_in_the_wheel(wheel):
    """Whoever gets the wheel gets its licence."""
    assert any(name.endswith("/LICENSE") for name in wheel.namelist())


def test_django_and_redis_are_the_only_requirements(described):
    """At run time the library asks for two packages; all else is an extra."""
    always = [line for line in described.get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(re.match(r"[\w-]+(\[\w+\])?", line)[0] for line in always) == [
        "django",
        "redis[hiredis]",
    ]


def test_pytest_finds_the_plugin_without_django(project):
    """The entry point names a module that imports no Django: pytest imports it in every project."""
    (module,) = project["entry-points"]["pytest11"].values()
    program = f"import sys, {module}; sys.exit('django' in sys.modules or 'redis' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_installed_version_is_the_one_built(described):
    """The version that `pip` shows is the one of pyproject.toml."""
    assert metadata.version("django-redis-streams") == described["Version"]


def test_classifiers_promise_only_what_ci_runs(project):
    """Each version of Python and Django among the classifiers is one that .ci/run names."""
    found = re.compile(r"(?:Python|Django) :: (\d+\.\d+)$")
    promised = {match[1] for line in project["classifiers"] if (match := found.search(line))}
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert promised == set(re.findall(r"\b(?:python|django)=(\d+\.\d+)\b", ci))
