"""Runs `async def` handlers: many at a time, in the consumer's own thread.

`coroutines` begins them and gives their outcomes, in an `event_loop`, on `slots` of the scoreboard. `deadlines` ends
those beyond their TIMEOUT. Calls that block run in threads: those of Django's databases in the one `database_thread`,
all others in `threads`. `thread_calls` knows which of these calls run, for how long, and which wait.
"""
