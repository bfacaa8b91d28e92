"""The worker: a supervisor, its processes, and in each the consumers that share nothing.

`supervisor` starts, restarts and ends processes; `process` is one of them; `consumer` reads, hands to
`executor`, and settles; `keeper` renews what consumers hold; `maintenance` finds what is stale, trims and
tidies; `promoter` moves due retries; `warden` looks after what a dead process held; `quarantine` runs alone what
may have ended one.
"""
