"""Trying out a connection's options without a server: whether sockets and TLS take them.

redis-py gives them to the system when it connects. Then a missing file, or unknown ciphers, look like a server that
is away.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from redis.connection import SSLConnection

from ..conf import shown

__all__ = ["Unusable", "try_out"]

Step = tuple[tuple[str, ...], Callable[[], object]]

_TEXTS: Final = ("username", "password", "lib_name", "lib_version")


class Unusable(ValueError):
    """Options that the system refuses; the text names them and says why."""


def try_out(connection: Any, arguments: Mapping[str, Any], *, unshown: AbstractSet[str] = frozenset()) -> None:
    """Raise `Unusable` for what sockets or TLS don't take; it connects nowhere.

    `connection` is redis-py's, made of these arguments and not connected: it knows the defaults. `unshown` are
    arguments that may hold a password, such as any part of a URL.
    """
    for names, attempt in _steps(connection, arguments):
        try:
            attempt()
        except (OSError, TypeError, ValueError, OverflowError) as error:
            said = ", ".join(
                name if name in unshown else f"{name}={shown(arguments.get(name), name)}" for name in names
            )
            raise Unusable(f"{said} can't be used: {_reason(error)}") from None


def _steps(connection: Any, arguments: Mapping[str, Any]) -> Iterator[Step]:
    for name in _TEXTS:
        if isinstance(text := arguments.get(name), str):
            yield (name,), partial(text.encode, "utf-8", "surrogateescape")
    if path := arguments.get("path"):
        yield ("path",), lambda: _check_path(os.fsencode(path))
    if "host" in arguments:
        yield ("host",), lambda: _check_host(arguments["host"])
    if options := arguments.get("socket_keepalive_options"):
        yield ("socket_keepalive_options",), lambda: _set_all(options)
    if isinstance(connection, SSLConnection):
        yield from _steps_of_tls(connection, arguments)


def _check_path(path: bytes) -> None:
    if b"\0" in path[1:]:
        raise ValueError("it holds a character that no path may")


def _check_host(host: str) -> None:
    if any(character <= " " or character == "\x7f" for character in host):
        raise ValueError("it holds a character that no name of a host may")
    host.encode("idna")  # as the socket module does


def _set_all(options: Mapping[int, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trial:
        for name, value in options.items():
            trial.setsockopt(socket.IPPROTO_TCP, name, value)


def _steps_of_tls(connection: Any, arguments: Mapping[str, Any]) -> Iterator[Step]:
    """Yield the steps by which redis-py sets up a TLS context, in its order, each with the options that it takes."""
    context = ssl.create_default_context()

    def given(*names: str) -> tuple[str, ...]:
        return tuple(name for name in names if arguments.get(name) is not None)

    yield ("ssl_cert_reqs", "ssl_check_hostname"), lambda: _demand(context, connection)
    if flags := given("ssl_include_verify_flags", "ssl_exclude_verify_flags"):
        yield flags, lambda: [ssl.VerifyFlags(flag) for name in flags for flag in arguments[name]]
    if files := given("ssl_certfile", "ssl_keyfile"):
        certificate: Any = arguments.get("ssl_certfile")
        key = arguments.get("ssl_keyfile")
        # Without a password OpenSSL would ask for one at the terminal, and wait.
        password = arguments.get("ssl_password") or (lambda: b"")
        yield (*files, *given("ssl_password")), lambda: context.load_cert_chain(certificate, key, password)
    for name, word in (("ssl_ca_certs", "cafile"), ("ssl_ca_data", "cadata")):
        if (value := arguments.get(name)) is not None:
            yield (name,), partial(context.load_verify_locations, **{word: value})
    if path := arguments.get("ssl_ca_path"):
        yield ("ssl_ca_path",), lambda: next(Path(path).iterdir(), None)
    if given("ssl_min_version"):
        yield ("ssl_min_version",), lambda: setattr(context, "minimum_version", arguments["ssl_min_version"])
    if given("ssl_ciphers"):
        yield ("ssl_ciphers",), lambda: context.set_ciphers(arguments["ssl_ciphers"])
    if revoked := tuple(name for name in ("ssl_validate_ocsp", "ssl_validate_ocsp_stapled") if arguments.get(name)):
        yield revoked, lambda: _check_ocsp(revoked)


def _demand(context: ssl.SSLContext, connection: Any) -> None:
    context.check_hostname = connection.check_hostname
    context.verify_mode = connection.cert_reqs


def _check_ocsp(names: tuple[str, ...]) -> None:
    if len(names) > 1:
        raise ValueError("one excludes the other")
    for package in ("cryptography", *(["OpenSSL"] if names == ("ssl_validate_ocsp_stapled",) else [])):
        if find_spec(package) is None:
            raise ValueError(f"redis-py needs the package {package!r} for it, which isn't installed")


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
