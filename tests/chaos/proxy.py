"""A proxy that treats replies badly; see `tests/support/proxies.py` for one that loses a single reply."""

import random
import socket
import time
from collections import deque
from collections.abc import Callable

from tests.support.proxies import Proxy
from tests.support.servers import Server

# Called with the socket of the caller and a piece of a reply; an OSError cuts the connection.
Fault = Callable[[socket.socket, bytes], None]
# Bytes a second, and of a piece.
RATE, PIECE = 2_000_000, 20_000


class FaultyProxy(Proxy):
    """Passes everything on; while `fault` is set, that passes on the replies, or doesn't."""

    def __init__(self, server: Server) -> None:
        self.fault: Fault | None = None
        super().__init__(server)
        self.requests = deque(maxlen=10)  # the base would keep all

    def _reply(self, near: socket.socket, data: bytes) -> None:
        if self.fault is None:
            near.sendall(data)
        else:
            self.fault(near, data)


def eats(chance: random.Random, share: float = 0.02) -> Fault:
    """Lose one reply of fifty, and the connection with it: the server has carried out the command."""

    def fault(near: socket.socket, data: bytes) -> None:
        if chance.random() < share:
            raise OSError("eaten")
        near.sendall(data)

    return fault


def cuts(chance: random.Random, share: float = 0.02) -> Fault:
    """Cut one reply of fifty in its middle."""

    def fault(near: socket.socket, data: bytes) -> None:
        if chance.random() < share:
            near.sendall(data[: chance.randrange(len(data))])
            raise OSError("cut")
        near.sendall(data)

    return fault


def delays(chance: random.Random, most: float = 0.1) -> Fault:
    """Hold each reply up for up to a tenth of a second."""

    def fault(near: socket.socket, data: bytes) -> None:
        time.sleep(chance.uniform(0, most))  # this is the fault
        near.sendall(data)

    return fault


def narrows(near: socket.socket, data: bytes) -> None:
    """Let 2 MB a second through, as a slow line does."""
    for begin in range(0, len(data), PIECE):
        piece = data[begin : begin + PIECE]
        time.sleep(len(piece) / RATE)  # this is the fault
        near.sendall(piece)
