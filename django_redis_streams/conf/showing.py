"""How a value of the settings is shown in an error: enough to correct it by, and never with a password in it.

Nobody can tell where the password is in a URL that is malformed, or in the wrong place of the settings. So all that
stands before the last `@` is hidden, all of a query, and whatever has a name that sounds secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["hidden", "holds_url", "shown"]

_HIDDEN: Final = "***"
_NAMES: Final = r"pass|pwd|secret|token|cred|auth|user|api_?key"
_SECRET_NAME: Final = re.compile(
    rf"{_NAMES}|^(url|location|(sentinel_)?options|connections|redis_streams)$", re.IGNORECASE
)
# In text of whatever form: `password=…`, `'password': '…'`.
_ASSIGNED: Final = re.compile(
    rf"((?:{_NAMES})\w*(?:['\"]\s*:|\s*=)\s*)('[^']*'|\"[^\"]*\"|[^\s&;,)}}\]]+)", re.IGNORECASE
)
# A URL without its scheme: `user:password@host`.
_BARE: Final = re.compile(r":[^@]*@")
# A URL that has lost a slash: `redis:/user:password@host`, `redis:password`.
_SLASHLESS: Final = re.compile(
    r"(?<![\w.-])(rediss?(?:\+\w+)?|valkeys?(?:\+\w+)?|sentinel|unix|embedded):(?!//)", re.IGNORECASE
)
# Schemes that people write for a server. Any other word there may be a password that holds a `://`.
_SCHEME: Final = re.compile(
    r"\s*(rediss?|valkeys?|unix|embedded|rediss?\+\w+|sentinel|https?|amqps?|tcp|tls|ssl)://", re.IGNORECASE
)
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::\d{1,5})?(?=[/?#]|\Z)")
# Schemes whose path is where they lead.
_PATHS: Final = ("unix://", "embedded://")
_DEEPEST: Final = 4
_UNSHOWN: Final = "text that isn't shown, for it may hold a password"


def holds_url(text: str) -> bool:
    """Return whether text may be, or hold, a server's URL. Only `URL` may: elsewhere it would be shown as a name.

    A web address isn't one: the type of a message may be a web address.
    """
    url = "://" in text and ("@" in text or not text.startswith(("http://", "https://")) or text.count("://") > 1)
    return url or any(each.search(text) for each in (_BARE, _SLASHLESS, _ASSIGNED))


def hidden(text: str) -> str:
    """Return text without passwords. Of a URL only scheme and host are left, or the path if that is where it leads."""
    if "@" in text:
        head, _, tail = text.rpartition("@")
        return _scheme(head) + _HIDDEN + "@" + _leads(_scheme(head), tail)
    if "://" in text:
        scheme = _scheme(text)
        return scheme + _leads(scheme, text.partition("://")[2]) if scheme else _HIDDEN
    if slashless := _SLASHLESS.search(text):
        return text[: slashless.end()] + "…"
    return _ASSIGNED.sub(rf"\1{_HIDDEN}", text)


def _scheme(text: str) -> str:
    found = _SCHEME.match(text)
    return "" if found is None else found[0].lstrip()


def _leads(scheme: str, text: str) -> str:
    """Return host and port, or the path, without what follows: that may hold anything."""
    if scheme.lower() in _PATHS:
        path = re.split(r"[?#]", text, maxsplit=1)[0]
        if path.startswith("/") or not path or (scheme.lower() == "embedded://" and ":" not in path):
            return path + ("…" if path != text else "")
    found = _HOST.match(text)
    if found is None:
        return "" if not text else "…"
    rest = text[found.end() :]
    return found[0] + (rest if rest in ("", "/") or re.fullmatch(r"/\d{1,3}", rest) else "/…")


def shown(value: Any, name: object = "", depth: int = 0) -> str:
    """Return a value in Python's own form, without what may be a password; `name` is that of its setting."""
    secret = isinstance(name, str) and _SECRET_NAME.search(name) is not None
    if callable(getattr(value, "geturl", None)):  # as urllib.parse and django-environ give it
        value = value.geturl()
    if isinstance(value, str):
        return _UNSHOWN if secret and value.strip() and "://" not in value else repr(hidden(value))
    if isinstance(value, bytes | bytearray):
        return f"bytes: {shown(bytes(value).decode('utf-8', 'replace'), name)}"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _shown_all(value, name if secret else "", depth)
    if secret and not (value is None or isinstance(value, bool)):
        return f"{_kind(value)} that isn't shown, for it may hold a password"
    try:
        return hidden(repr(value))
    except Exception:  # noqa: BLE001  a broken __repr__ is no reason to say nothing
        return _kind(value)


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def _shown_all(value: Any, secret: object, depth: int) -> str:
    """Show a container and what is in it; `secret` is its name if that sounds secret: then all in it is secret too."""
    if depth >= _DEEPEST:
        return _kind(value)
    if isinstance(value, Mapping):
        pairs = (f"{shown(key, '', depth + 1)}: {shown(each, secret or key, depth + 1)}" for key, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    each_shown = ", ".join([shown(each, secret, depth + 1) for each in value])
    if isinstance(value, list):
        return f"[{each_shown}]"
    if isinstance(value, tuple):
        return f"({each_shown}{',' if len(value) == 1 else ''})"
    return f"{type(value).__name__}({{{each_shown}}})" if value else f"{type(value).__name__}()"
