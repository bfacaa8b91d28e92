"""The options that redis-py's connections take in OPTIONS and in the query of a URL, and what each of them may be.

redis-py looks at few of them before it connects, and at some never: `socket_keepalive=off` is true to it. Options that
aren't named here, such as those of a later redis-py, are passed on as they are.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, Final

__all__ = ["OPTIONS", "Option"]

_TRUE: Final = ("1", "t", "true", "y", "yes", "on")
_FALSE: Final = ("0", "f", "false", "n", "no", "off")
# A socket's time-out is kept in ms, in an int of C.
_MOST_SECONDS: Final = (2**31 - 1) // 1000
# To redis-py the `socket_type` is the family that a host's addresses are looked up in.
_FAMILIES: Final = (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6)
_CERT_REQS: Final = ("none", "optional", "required")


@dataclass(frozen=True, slots=True)
class Option:
    """What an option may be: in words, as a value of OPTIONS, and how it is read from the text of a URL.

    `read` raises `ValueError`. It is None for an option that a URL can't set.
    """

    expected: str
    accepts: Callable[[Any], bool]
    read: Callable[[str], Any] | None = str


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(value: Any) -> bool:
    return value is None or (_number(value) and 0 < value <= _MOST_SECONDS)


def _whole(least: int, most: float = float("inf")) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _boolean(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError(text)
    return text.lower() in _TRUE


def _text(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: value is None or (isinstance(value, (str, *kinds)) and value != "")


def _client_name(value: Any) -> bool:
    return value is None or (isinstance(value, str) and all("!" <= character <= "~" for character in value))


def _tls_version(value: Any) -> bool:
    return value is None or (isinstance(value, int) and value in list(ssl.TLSVersion))


_SECONDS: Final = Option(f"seconds above 0, at most {_MOST_SECONDS:,} (int or float), or None", _seconds, float)
_BOOLEAN: Final = Option("True or False", lambda value: isinstance(value, bool), _boolean)
_TEXT: Final = Option("text that isn't empty, or None", _text())
# Numbers are sent as text.
_LOGIN: Final = Option("text that isn't empty, or None", _text(bytes, int))
_PATH: Final = Option("a path, or None", _text(PathLike))
_DATA: Final = Option("text, bytes or None", _text(bytes, bytearray))
_CALLABLE: Final = Option("something that can be called, or None", lambda value: value is None or callable(value), None)

OPTIONS: Final[Mapping[str, Option]] = {
    "host": Option("the name or address of a host", lambda value: isinstance(value, str) and value != ""),
    "port": Option("a port, 1 to 65535", _whole(1, 65535), int),
    "db": Option("the number of a database, 0 or more", _whole(0), int),
    "path": Option("the path of a socket", lambda value: isinstance(value, str | PathLike) and value != ""),
    "username": _LOGIN,
    "password": _LOGIN,
    "client_name": Option("text without spaces, in ASCII, or None", _client_name),
    "lib_name": _TEXT,
    "lib_version": _TEXT,
    "socket_timeout": _SECONDS,
    "socket_connect_timeout": _SECONDS,
    "socket_keepalive": _BOOLEAN,
    "socket_keepalive_options": Option(
        "a dict of numbers, by the numbers of socket.TCP_KEEPIDLE and the like, or None",
        lambda value: value is None or (isinstance(value, Mapping) and all(map(_number, [*value, *value.values()]))),
        None,
    ),
    "socket_read_size": Option("a number of bytes, 1 or more", _whole(1), int),
    "socket_type": Option(
        "0, socket.AF_INET or socket.AF_INET6", lambda value: _whole(0)(value) and value in _FAMILIES, int
    ),
    "redis_connect_func": _CALLABLE,
    "command_packer": _CALLABLE,
    "credential_provider": Option(
        "an object with get_credentials(), or None",
        lambda value: value is None or callable(getattr(value, "get_credentials", None)),
        None,
    ),
    "ssl_cert_reqs": Option(
        "'none', 'optional' or 'required'",
        lambda value: value is None or isinstance(value, ssl.VerifyMode) or value in _CERT_REQS,
    ),
    "ssl_check_hostname": _BOOLEAN,
    "ssl_validate_ocsp": _BOOLEAN,
    "ssl_validate_ocsp_stapled": _BOOLEAN,
    "ssl_keyfile": _PATH,
    "ssl_certfile": _PATH,
    "ssl_ca_certs": _PATH,
    "ssl_ca_path": _PATH,
    "ssl_ca_data": _DATA,
    "ssl_password": _LOGIN,
    "ssl_ciphers": _TEXT,
    "ssl_min_version": Option("a version of ssl.TLSVersion, or None", _tls_version, int),
}
