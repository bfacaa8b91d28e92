"""A front that speaks TLS before a server that doesn't, and its certificate."""

import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import pytest


class Files(NamedTuple):
    """A key, and the certificate for "localhost" that it has signed itself."""

    key: Path
    certificate: Path


def certificate(directory: Path) -> Files:
    """Make a certificate; skip the test where openssl isn't installed."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command, to make a certificate")
    files = Files(directory / "key.pem", directory / "certificate.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", files.key, "-out", files.certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return files


class Front:
    """Passes on what it decrypts to the socket of a server, from a port of its own."""

    def __init__(self, files: Files, server: Path) -> None:
        self._server = server
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(files.certificate, files.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                with suppress(OSError):
                    near = self._context.wrap_socket(plain, server_side=True)
                    far = socket.socket(socket.AF_UNIX)
                    far.connect(str(self._server))
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(near: socket.socket, far: socket.socket) -> None:
    with near, far, suppress(OSError):
        while data := near.recv(65536):
            far.sendall(data)
