"""The project's pages: their fences, tables and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

_PART = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$|^<!-- check\n(?P<check>.*?)^-->$", re.DOTALL | re.MULTILINE)
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Part:
    """A fence, or a comment of the kind "check": Python that a reader doesn't see."""

    kind: str
    text: str


@dataclass(frozen=True)
class Page:
    """One page in Markdown."""

    path: Path

    @property
    def name(self) -> str:
        """The path, relative to the root."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        """The page's text."""
        return self.path.read_text(encoding="utf-8")

    @property
    def parts(self) -> list[Part]:
        """Fences and checks, in their order."""
        found = _PART.finditer(self.text)
        return [Part("check", each["check"]) if each["check"] else Part(each["kind"], each["text"]) for each in found]

    @property
    def prose(self) -> str:
        """The text without fences and checks."""
        return _PART.sub("", self.text)

    @property
    def anchors(self) -> set[str]:
        """The anchors of the headings, as forges make them."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}

    def table(self, heading: str) -> list[list[str]]:
        """Return the rows of the first table under a heading, cell by cell."""
        section = re.split(rf"^#+ {re.escape(heading)}$", self.text, flags=re.MULTILINE)[1]
        lines = re.search(r"^\|.*\n\|[-|]+\|\n((?:\|.*\n)+)", section, re.MULTILINE)[1].splitlines()
        return [[cell.strip() for cell in _CELL.split(line)[1:-1]] for line in lines]

    def links(self) -> Iterator[tuple[str, str]]:
        """Yield the links to other files of the project, as (path, anchor)."""
        for target in re.findall(r"\]\(([^)\s]+)\)", self.prose):
            if "://" not in target:
                path, _, anchor = target.partition("#")
                yield path, anchor


PAGES = [Page(ROOT / name) for name in ("README.md", "CHANGELOG.md")]
PAGES += [Page(path) for path in sorted((ROOT / "docs").glob("*.md"))]


def page(name: str) -> Page:
    """Return a page by its path."""
    return next(each for each in PAGES if each.name == name)


def codes(text: str) -> list[str]:
    """Return the texts between backticks."""
    return re.findall("`([^`\n]+)`", re.sub("^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
