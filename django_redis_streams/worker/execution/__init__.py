"""From a delivery to its outcome. No Redis in here.

`executor` finds the handler, calls it and judges the run; `coroutines` does so for `async def` handlers.
`batch` holds what one call gets. `failures` puts an error into words, and `signalling` calls the receivers of Django's
signals. `databases` looks after Django's connections. `outages` tells a database's fault from a handler's, and `sqlite`
knows what a worker needs of SQLite.
"""
