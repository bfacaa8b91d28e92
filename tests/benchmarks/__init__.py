"""The project's own benchmark, `make bench`: bare redis-py loops and this package, in turns, on one server.

A family of figures is one small file: `drain`, `publish`, `latency`, `memory`, `backlog`, `inbox`, and `idle`, whose
figures are costs. A new figure is a function there, whose docstring says what is compared with what, or what is
counted. A new family must be named in `__main__`.

`bare` holds the bare loops. Our side is a Django project as a user has it: `settings`, `handlers`, and `ours`,
which publishes. Both sides share `work`, which handles a message, and `publishing`, which times publishers.
`bench` holds the server and runs the sides in turns, `processes` starts them, `tally` counts the handled messages,
`machine` pins processes to cores and measures what programs use; `figures` lists the figures; `report` and `picture`
show comparisons, and `costs` shows costs. The workers of `idle` and `inbox` are in projects of their own:
`idle_streams`, `idle_settings`, `idle_handlers`; `inbox_settings`, `inbox_handlers`.
"""
