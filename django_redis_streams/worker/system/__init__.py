"""What the operating system gives: `forking`, signals (`os_signals`), the `memory` of a process, a `clock` that never jumps.

`strays` are processes that a handler forks, `leftovers` those that outlive it.
"""
