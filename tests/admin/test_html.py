"""The pages' HTML: nothing inline that a content security policy would refuse, one place for each label."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.test import Client

from tests.support import states

from . import site


class Inline(HTMLParser):
    """Collects what a strict content security policy refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.within: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Styles, handlers of events, scripts in links."""
        given = dict(attrs)
        self.within = tag if tag == "style" or (tag == "script" and "src" not in given) else None
        self.found += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        self.found += [f"{tag} {value}" for value in given.values() if (value or "").lower().startswith("javascript:")]

    def handle_data(self, data: str) -> None:
        """Scripts and styles in the page itself."""
        if self.within and data.strip():
            self.found.append(f"{self.within}: {data.strip()[:60]}")


def pages(browser: Client, keys: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Every kind of page."""
    for model, verbs in site.VERBS.items():
        yield f"{model} list", site.text(browser.get(site.url(model)))
        yield f"{model} search", site.text(browser.get(site.url(model), {"q": "nothing like it"}))
        yield f"{model} page", site.text(browser.get(site.url(model, "change", quote(keys[model]))))
        yield f"{model} history", site.text(browser.get(site.url(model, "history", quote(keys[model]))))
        for verb in verbs:
            question = site.post(browser, site.url(model), action=verb, **{site.SELECTED: keys[model]})
            yield f"{model} {verb}", site.text(question)


@pytest.fixture
def many(keys: dict[str, str], raw: Any) -> dict[str, str]:
    """One of each kind, and more than a page of dead letters."""
    states.publish(raw, *({"n": str(number)} for number in range(60)))
    states.bury()
    return keys


def test_nothing_is_inline(many: dict[str, str], browser: Client, streams: Any) -> None:
    """No script, style or handler stands in a page, so `default-src 'self'` breaks none."""
    for name, html in pages(browser, many):
        parser = Inline()
        parser.feed(html)
        assert parser.found == [], name
    streams(URL="unix:///nowhere/at.all")
    parser = Inline()
    parser.feed(site.text(browser.get(site.url("deadletter"))))
    assert parser.found == []


def test_our_stylesheet_comes_along_and_uses_the_admins_colours(many: dict[str, str], browser: Client) -> None:
    """Colours are variables of the admin's, so they follow light and dark."""
    from django.contrib.staticfiles import finders  # noqa: PLC0415  needs the settings

    for name, html in pages(browser, many):
        assert "history" in name or "django_redis_streams/admin.css" in html, name
    found = finders.find("django_redis_streams/admin.css")
    assert isinstance(found, str)
    css = Path(found).read_text("utf-8")
    assert not [line for line in css.splitlines() if "color" in line.partition(":")[0] and "var(--" not in line]
    assert "#" not in css.replace("#result_list", "").replace("#content-main", "")
