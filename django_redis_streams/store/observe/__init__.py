"""Looking without touching: nothing in here changes anything on the server.

`sources` are lists of messages, read by pages; `overview` tells how streams and groups are doing; `entries` finds one
message; `contents`, `server` and `statistics` say what their names say; `follow` reads a stream without a group.
"""
