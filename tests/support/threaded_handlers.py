"""Starts a thread at import, as some clients do, for a test of the worker's warning."""

import threading

threading.Thread(target=threading.Event().wait, daemon=True, name="never ends").start()
