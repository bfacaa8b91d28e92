"""What the operating system gives: `forking`, signals (`os_signals`), `memory`, and a `clock` that never jumps.

`leftovers` are processes that outlive the handler that started them.
"""
