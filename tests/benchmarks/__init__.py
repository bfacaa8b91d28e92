"""The project's own benchmark, `make bench`: bare redis-py loops and this package, in turns, on one server.

One small file a family of figures: `drain`, `publish`, `latency`, `memory`, `backlog`. Adding a figure is adding a
function there; its docstring says what is compared with what. A new family is named in `__main__`.

`bare` holds the bare loops. Our side is a Django project as a user would have it: `settings`, `handlers`, and `ours`,
which publishes. `work` is what handling a message is, `publishing` how publishers are timed, on both sides.
`bench` has the server and runs the sides in turns, `processes` starts them, `tally` counts what they have handled,
`machine` pins to cores and sees who else is working; `figures` is what there is to measure; `report` and `picture`
tell.
"""
