"""A proxy before a server that loses replies: the command is carried out, but the caller gets no answer."""

import select
import shutil
import socket
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from .servers import Server


class Proxy:
    """Passes everything on. After `lose_reply_to` it drops one reply, and that connection.

    Once `trickles` is set, replies go on byte by byte, so slowly that none has come whole within a test. While `shut`
    is set, connections are accepted, and closed at once.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.directory = Path(tempfile.mkdtemp(prefix="streams-", dir="/tmp"))
        self.socket = self.directory / "proxy.sock"
        self.requests: list[bytes] = []
        self.trickles = threading.Event()
        self.shut = threading.Event()
        self._lose: bytes | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.socket))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"unix://{self.socket}"

    def lose_reply_to(self, word: str) -> None:
        """Cut the next connection that sends this word, once the server has carried out the command."""
        self._lose = word.encode()

    def stop(self) -> None:
        """Stop listening; a connection ends when either end closes it."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _reply(self, near: socket.socket, data: bytes) -> None:
        if self.trickles.is_set():
            for each in data:
                near.sendall(bytes([each]))
                time.sleep(0.5)  # this is the fault
        else:
            near.sendall(data)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(near,), daemon=True).start()

    def _pass(self, near: socket.socket) -> None:
        far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with near, far, suppress(OSError):
            if self.shut.is_set():
                return
            far.connect(str(self.server.socket))
            while True:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is far:
                        self._reply(near, data)
                        continue
                    self.requests.append(data)
                    far.sendall(data)
                    if self._lose is not None and self._lose in data:
                        self._lose = None
                        far.recv(65536)  # the reply shows that the server has carried it out
                        return
