"""What runs beside the consumers of a process, one thread each for a server.

`heartbeat` renews what consumers hold; `maintenance` finds what is stale, trims and tidies; `promoter` moves what is
due, and `shortening` bounds its wait after the server's clock went back; `statistics` counts by the minute; `draining`
ends a drain; `presence` tells that the process is there.
"""
