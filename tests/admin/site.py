"""The admin as somebody sees it: who may do what, where the pages are, and posting with a token."""

from typing import Any

from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

MODELS = ("deadletter", "retryingmessage", "delayedmessage", "pendingmessage")
VERBS = {
    "deadletter": ("replay", "discard"),
    "retryingmessage": ("discard",),
    "delayedmessage": ("publish", "discard"),
    "pendingmessage": ("release",),
}
SELECTED = "_selected_action"


def user(name: str, *permissions: str) -> User:
    """A member of staff with these permissions, and no others."""
    made = User.objects.create_user(name, is_staff=True)
    found = Permission.objects.filter(content_type__app_label="django_redis_streams", codename__in=permissions)
    assert len(found) == len(permissions)
    made.user_permissions.set(found)
    return made


def browser(somebody: User | None = None) -> Client:
    """A client that is logged in, and whose posts need a token."""
    client = Client(enforce_csrf_checks=True)
    if somebody is not None:
        client.force_login(somebody)
    return client


def url(model: str, view: str = "changelist", *keys: str) -> str:
    """Where a page is; keys as they are, not quoted."""
    return reverse(f"admin:django_redis_streams_{model}_{view}", args=keys)


def token(client: Client) -> str:
    """The token that a form would hold."""
    if "csrftoken" not in client.cookies:
        client.get(reverse("admin:login") if "sessionid" not in client.cookies else reverse("admin:password_change"))
    return client.cookies["csrftoken"].value


def post(client: Client, path: str, **fields: Any) -> Any:
    """Post a form of the admin's."""
    return client.post(path, {**fields, "csrfmiddlewaretoken": token(client)})


def told(response: Any) -> str:
    """The notes that the next page would show."""
    return "\n".join(str(note) for note in get_messages(response.wsgi_request))


def text(response: Any) -> str:
    """A page's HTML; it was shown, not an error."""
    assert response.status_code == 200, (response.status_code, getattr(response, "url", ""))
    return str(response.content, "utf-8")
