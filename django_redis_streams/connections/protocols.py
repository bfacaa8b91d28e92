"""Finding out, where connecting failed, whether the port speaks TLS or the other way round."""

from __future__ import annotations

import socket
import ssl
from typing import Final

__all__ = ["WITHIN", "wrong_scheme"]

# In seconds: what has failed already shall not take much longer.
WITHIN: Final = 0.5
# The first byte of a reply without TLS.
_REPLIES: Final = (b"+", b"-")


def wrong_scheme(host: str, port: int, *, tls: bool, within: float = WITHIN) -> bool:
    """Return whether a port that was asked with TLS speaks none, or the other way round; False for any other fault.

    It connects once more, the other way, and sends nothing but a PING. Each step may take `within` seconds.
    """
    try:
        with socket.create_connection((host, port), within) as sock:
            sock.settimeout(within)
            return _answers_plainly(sock) if tls else _shakes_hands(sock)
    except OSError:
        return False


def _answers_plainly(sock: socket.socket) -> bool:
    sock.sendall(b"PING\r\n")
    return sock.recv(1) in _REPLIES


def _shakes_hands(sock: socket.socket) -> bool:
    """Begin TLS, whoever's certificate it is: nothing is sent over it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(sock) as wrapped:
        return wrapped.version() is not None
