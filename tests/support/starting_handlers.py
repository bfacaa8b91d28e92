"""Starts a program when it is imported, for tests of what a worker finds when it begins."""

import subprocess

from .forking_handlers import note_pid

note_pid("started", subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)
