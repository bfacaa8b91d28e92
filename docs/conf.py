"""How Sphinx builds the site of these pages: `make docs`.

The pages are Markdown that reads as well without it. What it needs beyond that is made here: the table of contents
is that of the index's tables, under their headings.
"""

import re
from importlib.metadata import version as version_of
from typing import Final

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "django_redis_streams"
author = "django_redis_streams contributors"
project_copyright = author
release = version = version_of("django-redis-streams")

extensions = ["myst_parser", "sphinxcontrib.mermaid"]
root_doc = "index"
nitpicky = True
# Headings of these depths can be linked to, by the names that forges give them.
myst_heading_anchors = 4
myst_enable_extensions = ["smartquotes"]
myst_fence_as_directive = ["mermaid"]

html_theme = "furo"
html_title = "django-redis-streams"
html_copy_source = False

_LINK: Final = re.compile(r"\]\(([\w-]+)\.md\)")
_SECTION: Final = re.compile(r"^## (.+)\n((?:(?!## ).*\n)+)", re.MULTILINE)
_ABOVE: Final = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")


def _order_pages(_: Sphinx, name: str, source: list[str]) -> None:
    """Give the index a table of contents; links to files above the pages, which the site hasn't, become their text."""
    source[0] = _ABOVE.sub(r"\1", source[0])
    if name == root_doc:
        for heading, text in _SECTION.findall(source[0]):
            if pages := "\n".join(_LINK.findall(text)):
                source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{pages}\n```\n"


def setup(app: Sphinx) -> None:
    """Set Sphinx up, which calls this."""
    app.connect("source-read", _order_pages)
    app.add_lexer("conf", TextLexer)  # lines of a server's own configuration
