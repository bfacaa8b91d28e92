"""What a worker logs, on every floor.

`lines` are those of its messages and groups. `recurring` counts what would be logged with each message. `unreachable`
tells of a server's outage once, whichever thread meets it.
"""
