"""Starts a thread when it is imported, as a client that has one does, for a test of what a worker says of it."""

import threading

threading.Thread(target=threading.Event().wait, daemon=True, name="never ends").start()
