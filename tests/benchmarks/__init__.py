"""The project's own benchmark, `make bench`: bare redis-py loops and this package, in turns, on one server.

One small file a family of figures: `drain`, `publish`, `latency`, `memory`, `backlog`. Adding a figure is adding a
function there; its docstring says what is compared with what.

`bare` holds the bare loops; `settings`, `handlers` and `publishers` are a Django project as a user would have it.
`bench` has the server and runs the sides in turns; `workers` starts the processes that drain; `tally` counts what
they have handled; `machine` pins to cores and sees who else is working; `report` and `picture` tell.
"""
