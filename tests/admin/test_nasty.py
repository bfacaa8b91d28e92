"""Whatever stands in a URL or a form: a page, a redirect, a 404 or a no; never a 500."""

from typing import Any
from urllib.parse import quote as percent
from urllib.parse import urlencode

import pytest
from django.contrib.admin.utils import quote
from django.test import Client

from . import site

NASTY = [
    "", " ", "0", "-1", "1", "9" * 400, "1e999", "NaN", "null", "None", "true", "\0", "a\0b", "\x1b[31m", "\n", "\r\n",
    "\t", "..", "../..", "../../etc/passwd", "/", "//", "///", "/a/b/c/d/e", "%", "%%", "%00", "%2F", "%s", "%(x)s",
    "{}", "{0}", "{orders}", "{{ x }}", "{% x %}", "[]", "[1]", "[" * 2_000, '{"a": 1}', '["",0,"","",""]',
    '[-1,0,"","orders",""]', '[1,0,"","orders","billing"]', '[1e308,1,"a","b","c"]', "<script>alert(1)</script>",
    "'", '"', "\\", "' OR 1=1 --", "; DROP TABLE x", "$(id)", "`id`", "ü", "東京", "🤖", "\u202e", "\ud7ff", "\uffff",
    "\U0010ffff", "١٢٣", "1-1", "0-0", "-", "+", "$", "*", ">", "(1-1", "18446744073709551615-18446744073709551615",
    "18446744073709551616-0", "99999999999999999999999-0", "1-1-1", "orders", "orders/", "orders/1-1", "orders/0-0",
    "orders/-", "orders/+", "orders/*", "orders/1-1/x", "orders/billing/orders%2F1-1", "orders/billing/main/1-1",
    "orders/billing/redelivery/1-1", "orders/billing/x/1-1", "orders/{x}/main/1-1", "orders/billing:entries/a",
    "orders/%ff/1-1", "orders/%FF/main/1-1", "orders/%ED%A0%80/1-1", "orders%2F1-1", "a" * 8_000, "a " * 4_000,
    "_2F", "_", "__", "pk__in", "id__regex", "x__y__z__icontains", "a&b=c", "a=b", "#", "?", "?q=1", "é" * 300,
]  # fmt: skip
NAMES = [
    "q", "after", "stream", "group", "reason", "o", "p", "all", "e", "_to_field", "_popup", "_facets", "pk", "pk__in",
    "id__regex", "stream__icontains", "row", "x__y", "_changelist_filters", "action", "_selected_action", "index", "",
    "\0", "%",
]  # fmt: skip
KNOWN = ("q", "after", "stream", "group", "reason")
FINE = {200, 302, 404}


@pytest.mark.parametrize("model", site.MODELS)
def test_any_query_string_gives_a_page(keys: dict[str, str], browser: Client, model: str) -> None:
    """Each nasty value in one of the parameters that mean something, or in all at once: the models take turns."""
    for index, value in enumerate(NASTY, start=site.MODELS.index(model)):
        query = [(name, value) for name in NAMES] if index % 2 else [(KNOWN[index % len(KNOWN)], value)] * 2
        assert browser.get(f"{site.url(model)}?{urlencode(query)}").status_code == 200, query


@pytest.mark.parametrize(
    "raw_query", ["%", "%zz", "%ff", "q=%ff", "q=%00", "after=%ff%fe", "&&&", "=", "q", "a;b", "+"]
)
def test_any_broken_query_string_gives_a_page(keys: dict[str, str], browser: Client, raw_query: str) -> None:
    """Not only what a form would write."""
    for model in site.MODELS:
        assert browser.get(f"{site.url(model)}?{raw_query}").status_code == 200


def written_ids(key: str) -> list[str]:
    """Quoted as the admin does, as a browser does, and not at all; and changed by one character each."""
    changed = [key[:at] + "0/%"[at % 3] + key[at + 1 :] for at in range(len(key))]
    return [*map(quote, NASTY), *map(quote, changed), *map(percent, NASTY)]


@pytest.mark.parametrize("model", site.MODELS)
def test_any_id_gives_a_page_or_none(keys: dict[str, str], browser: Client, model: str) -> None:
    """The two views of a message take turns, from id to id and from model to model."""
    for index, written in enumerate(written_ids(keys[model]), start=site.MODELS.index(model)):
        view = ("change", "history")[index % 2]
        assert browser.get(f"{site.url(model)}{written}/{view}/").status_code in FINE, (written, view)


@pytest.mark.slow
@pytest.mark.parametrize("view", ["change", "history"])
@pytest.mark.parametrize("model", site.MODELS)
def test_any_id_gives_each_view_or_none(keys: dict[str, str], browser: Client, model: str, view: str) -> None:
    """Each id, in each view."""
    for written in written_ids(keys[model]):
        assert browser.get(f"{site.url(model)}{written}/{view}/").status_code in FINE, written


@pytest.mark.parametrize(
    "path", ["%FF/change/", "%00/change/", "%ED%A0%80/change/", "%2e%2e/change/", "//change/", "%/change/"]
)
def test_any_broken_path_gives_a_page_or_none(keys: dict[str, str], browser: Client, path: str) -> None:
    """Not only what a link would hold."""
    for model in site.MODELS:
        assert browser.get(site.url(model) + path).status_code in FINE


@pytest.mark.parametrize("model", site.MODELS)
def test_any_form_is_answered(keys: dict[str, str], browser: Client, raw: Any, model: str) -> None:
    """Nasty keys, verbs, indexes and flags: a page or a redirect, and nothing is changed."""
    before = {key: raw.dump(key) for key in raw.scan_iter()}
    verb = site.VERBS[model][0]
    for index, value in enumerate(NASTY):
        fields = (
            {"action": verb, site.SELECTED: value, "confirmed": "yes", "select_across": value},
            {"action": value, site.SELECTED: keys[model], "index": value, "_save": value, "form-TOTAL_FORMS": value},
        )[index % 2]
        assert site.post(browser, site.url(model), **fields).status_code in {200, 302}, fields
    assert {key: raw.dump(key) for key in raw.scan_iter()} == before
