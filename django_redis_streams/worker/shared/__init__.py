"""Memory that a process shares with its supervisor, without locks: one writer, and readers that may come at any time.

`scoreboard` says what runs and by when it must end; `counters` count what was done; `latency` how long it took;
`joined` says which groups the worker has consumed.
"""
