"""Finding out, where connecting failed, whether the port speaks TLS or the other way round."""

from __future__ import annotations

import socket
import ssl
from typing import Final

__all__ = ["wrong_scheme"]

# In seconds: what has failed already shall not take much longer.
_WITHIN: Final = 0.5
# The first byte of a reply without TLS.
_REPLIES: Final = (b"+", b"-")


def wrong_scheme(host: str, port: int, *, tls: bool) -> str:
    """Return the sentence about a URL with TLS for a port without, or the other way round; "" for any other fault.

    It connects once more, the other way, and sends nothing but a PING.
    """
    try:
        with socket.create_connection((host, port), _WITHIN) as sock:
            sock.settimeout(_WITHIN)
            other = _answers_plainly(sock) if tls else _shakes_hands(sock)
    except OSError:
        return ""
    if not other:
        return ""
    if tls:
        return "The server speaks no TLS at this port: write redis:// instead of rediss://, or name its port for TLS."
    return "The server speaks TLS at this port: write rediss:// instead of redis://."


def _answers_plainly(sock: socket.socket) -> bool:
    sock.sendall(b"PING\r\n")
    return sock.recv(1) in _REPLIES


def _shakes_hands(sock: socket.socket) -> bool:
    """Begin TLS, whoever's certificate it is: nothing is sent over it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(sock) as wrapped:
        return wrapped.version() is not None
