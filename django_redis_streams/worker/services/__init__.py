"""What runs beside the consumers of a process, one thread each for a server.

`heartbeat` renews what consumers hold; `maintenance` finds what is stale (`claimable`), trims and tidies (`upkeep`, at
the times of `chores`); `promoter` moves what is due, and `shortening` bounds its wait after the server's clock went
back; `listener` hears the notices that wake the others; `statistics` counts by the minute; `draining` ends a drain;
`presence` tells that the process is there; `relay` sends what waits in the outbox, where `relaying` says so; `inbox`
deletes old rows in databases. `kinds` says which of them a process runs, `making` makes them. `refusals` are raised
after all else is done.
"""
