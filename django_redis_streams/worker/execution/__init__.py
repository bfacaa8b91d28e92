"""From a delivery to its outcome. No Redis in here.

`executor` finds the handler, calls it and judges the run; `coroutines` does so for `async def` handlers, in an
`event_loop`, on `coroutine_slots`, by their `deadlines`; `batch` is what one call is for; `failures` puts an error into
words, and `signalling` calls the receivers of Django's signals; `databases` and `database_thread` look after Django's
connections, `threads` do what else blocks, and `thread_calls` says which runs have these or wait for them; `outages`
tells a database's fault from a handler's, `sqlite` knows what a worker needs of SQLite.
"""
