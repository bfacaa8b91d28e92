"""German is complete: every text of the library is in the catalogue, translated, and compiled."""

import ast
import gettext
import re
from pathlib import Path

import django_redis_streams

PACKAGE = Path(django_redis_streams.__file__).parent
CATALOGUE = PACKAGE / "locale/de/LC_MESSAGES/django.po"
FUNCTIONS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
TRANSLATE = re.compile(r'{% translate "([^"]*)"')
BLOCK = re.compile(r"{% blocktranslate(.*?)%}(.*?){% endblocktranslate %}", re.DOTALL)


def in_python() -> set[str]:
    """The texts that modules mark."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
                count = 2 if node.func.id.startswith("n") else 1
                found |= {each.value for each in node.args[:count] if isinstance(each, ast.Constant)}
    return found


def in_templates() -> set[str]:
    """The texts that templates mark."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.html"):
        html = path.read_text("utf-8")
        found |= set(TRANSLATE.findall(html))
        for options, body in BLOCK.findall(html):
            for text in body.split("{% plural %}"):
                trimmed = " ".join(text.split()) if "trimmed" in options else text
                found.add(re.sub(r"{{ *(\w+) *}}", r"%(\1)s", trimmed))
    return found


def catalogue() -> list[tuple[list[str], list[str]]]:
    """Each entry of the catalogue: the text, or its singular and plural, and its translations."""
    entries = []
    for block in CATALOGUE.read_text("utf-8").split("\n\n")[1:]:
        texts = re.findall(r'^msgid(?:_plural)? (".*")$', block, re.MULTILINE)
        said = re.findall(r'^msgstr(?:\[\d\])? (".*")$', block, re.MULTILINE)
        entries.append(([ast.literal_eval(each) for each in texts], [ast.literal_eval(each) for each in said]))
    return entries


def test_every_text_is_in_the_catalogue_and_no_other() -> None:
    """What `makemessages` would find is what is there."""
    assert {text for texts, _ in catalogue() for text in texts} == in_python() | in_templates()


def test_every_text_is_translated_and_compiled() -> None:
    """Each has its German, with the same places to fill in, in the compiled catalogue too."""
    with CATALOGUE.with_suffix(".mo").open("rb") as opened:
        compiled = gettext.GNUTranslations(opened)
    for texts, said in catalogue():
        many = [compiled.ngettext(*texts, number) for number in (1, 2)] if len(texts) > 1 else []
        assert said == (many or [compiled.gettext(texts[0])])
        assert all(said), texts
        places = [sorted(re.findall(r"%\(\w+\)[a-z]", each)) for each in (*texts, *said)]
        assert all(each == places[0] for each in places), texts
