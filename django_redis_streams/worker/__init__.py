"""The worker: a supervisor, its processes, and in each process the consumers, which share nothing.

From the top; a floor imports from those below it:

- `supervisor/` starts, replaces and ends processes. It has no threads and no connections.
- `process` is one child of the supervisor: a thread for each consumer and each service.
- `stopping` ends blocked reads at a process' stop, names what still runs, and gives up servers that don't answer.
- `services/` run beside the consumers: the heartbeat, presence, maintenance, the promoter, the listener, statistics.
- `consumer/` reads messages, hands them to an executor, and settles what came of them.
- `execution/` finds the handler, runs it and judges the run. It speaks with no server.
- `http/` answers probes and scrapes.
- `shared/` is memory that a process and the supervisor share, with one writer each.
- `system/` forks, notes signals and measures memory.
- `log/` has the lines that it logs: of messages, of what recurs, of servers that can't be reached.
- `options`, `timing`, `stop` and `strays` are used on every floor, as is `log/`.
"""
