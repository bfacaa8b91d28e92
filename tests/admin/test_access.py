"""Who may see and do what: every page, every method, everybody."""

from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User

from . import site

WHO = {
    "anonymous": None,
    "staff": (),
    "view": tuple(f"view_{model}" for model in site.MODELS),
    "replay": ("replay_deadletter", *(f"view_{model}" for model in site.MODELS)),
    "root": "all",
}
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
METHODS = ("GET", "HEAD", "OPTIONS", *UNSAFE)

# Each page: which methods it answers to those who may view, and how it answers anonymous, staff without permissions,
# and those who may view. What isn't there is 404 to all who are in.
PAGES = {
    "list": (("GET", "HEAD", "POST"), (302, 403, 200)),
    "page": (("GET", "HEAD"), (302, 403, 200)),
    "history": (METHODS, (302, 403, 200)),
    "gone": (("GET", "HEAD"), (302, 403, 302)),
    "add": (METHODS, (302, 404, 404)),
    "delete": (METHODS, (302, 404, 404)),
    "bare": (METHODS, (302, 404, 404)),
    "elsewhere": (METHODS, (302, 404, 404)),
}


def path(model: str, page: str, key: str) -> str:
    """Where a page is, or would be."""
    base = site.url(model)
    return {
        "list": base,
        "page": site.url(model, "change", quote(key)),
        "history": site.url(model, "history", quote(key)),
        "gone": site.url(model, "change", quote(key.replace("0", "1"))),
        "add": f"{base}add/",
        "delete": f"{base}{quote(key)}/delete/",
        "bare": f"{base}{quote(key)}/",
        "elsewhere": f"{base}{quote(key)}/replay/",
    }[page]


def somebody(who: str) -> User | None:
    """A user of that kind."""
    permissions: Any = WHO[who]
    if permissions == "all":
        return User.objects.create_superuser("somebody")
    return None if permissions is None else site.user("somebody", *permissions)


def expected(page: str, method: str, who: str) -> int:
    """The status that the table says."""
    methods, (anonymous, staff, viewer) = PAGES[page]
    if who in ("anonymous", "staff"):
        return anonymous if who == "anonymous" else staff
    return viewer if method in methods else 405


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("model", site.MODELS)
def test_every_page_answers_everybody_as_the_table_says(keys: dict[str, str], raw: Any, model: str, who: str) -> None:
    """Each page and method, with a token: what is allowed is answered, and nothing is changed by any of it."""
    client = site.browser(somebody(who))
    token = site.token(client)
    before = {key: raw.dump(key) for key in raw.scan_iter()}
    for page in PAGES:
        for method in METHODS:
            response = client.generic(method, path(model, page, keys[model]), headers={"X-CSRFToken": token})
            assert response.status_code == expected(page, method, who), (page, method)
            if who == "anonymous" and response.status_code == 302:
                assert "/login/" in response.url
    assert {key: raw.dump(key) for key in raw.scan_iter()} == before


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("model", site.MODELS)
def test_nothing_is_posted_without_a_token(keys: dict[str, str], model: str, who: str) -> None:
    """Each unsafe method without a CSRF token is refused, whoever sends it."""
    client = site.browser(somebody(who))
    for page in PAGES:
        for method in UNSAFE:
            assert client.generic(method, path(model, page, keys[model])).status_code == 403, (page, method)


ALLOWED = {"replay": {("deadletter", "replay")}, "root": {(m, v) for m, verbs in site.VERBS.items() for v in verbs}}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("of", [(model, verb) for model, verbs in site.VERBS.items() for verb in verbs])
def test_a_verb_needs_its_own_permission(
    keys: dict[str, str], raw: Any, of: tuple[str, str], who: str, confirmed: bool
) -> None:
    """Asking and doing are for those who may; others get 403 (or the login), and nothing changes."""
    model, verb = of
    client = site.browser(somebody(who))
    before = {key: raw.dump(key) for key in raw.scan_iter()}
    fields = {"action": verb, site.SELECTED: keys[model], **({"confirmed": "yes"} if confirmed else {})}
    response = site.post(client, site.url(model), **fields)
    allowed = (model, verb) in ALLOWED.get(who, set())
    if allowed:
        assert response.status_code == (302 if confirmed else 200)
    else:
        assert response.status_code == (302 if who == "anonymous" else 403)
    changed = {key: raw.dump(key) for key in raw.scan_iter()} != before
    assert changed is (allowed and confirmed)


@pytest.mark.parametrize(("model", "verb"), [(model, verb) for model, verbs in site.VERBS.items() for verb in verbs])
def test_a_verb_is_posted_and_never_got(keys: dict[str, str], raw: Any, browser: Any, model: str, verb: str) -> None:
    """A link, prefetched or followed, does nothing."""
    before = {key: raw.dump(key) for key in raw.scan_iter()}
    fields = {"action": verb, site.SELECTED: keys[model], "confirmed": "yes", "index": "0"}
    for page in ("list", "page", "history"):
        assert browser.get(path(model, page, keys[model]), fields).status_code == 200
    assert {key: raw.dump(key) for key in raw.scan_iter()} == before


@pytest.mark.parametrize("who", ["view", "replay"])
def test_what_somebody_may_not_do_is_not_offered(keys: dict[str, str], who: str) -> None:
    """Buttons and actions stand where they work, and there alone."""
    client = site.browser(somebody(who))
    for page in ("list", "page"):
        html = site.text(client.get(path("deadletter", page, keys["deadletter"])))
        assert ('value="replay"' in html) is (who == "replay")
        assert 'value="discard"' not in html


def test_the_index_shows_what_somebody_may_view(keys: dict[str, str]) -> None:
    """The pages are in the admin's index for those who may view them, with nothing to add or change."""
    html = site.text(site.browser(somebody("view")).get("/admin/"))
    for model in site.MODELS:
        assert site.url(model) in html
    assert "/add/" not in html
    assert "changelink" not in html
    html = site.text(site.browser(site.user("nobody")).get("/admin/"))
    assert "django_redis_streams" not in html
