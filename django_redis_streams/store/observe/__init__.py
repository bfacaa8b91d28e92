"""Looking without touching: nothing in here changes anything on the server.

`sources` are lists of messages, read by pages; `overview` tells how streams and groups are doing; `lanes` finds what
waits in a lane that LANES no longer names; `entries` finds one message; `contents` and `server` say what a stream and a
server hold, `cluster` what a node says of its cluster, `streams` which streams there are, `minutes` what workers did in
each; `follow` reads a stream without a group.
"""
