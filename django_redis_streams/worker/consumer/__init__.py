"""One consumer of one group, in one thread, with a connection of its own.

`consumer` is the loop; `quarantine` is another, which runs suspects alone. Both are made of `batch_runner`, which says
why no message is lost, and of its parts: `connection` makes the connection anew; `reader` asks for batches,
`batch_size` bounds them, and `waking` ends a read that waits for one; `claiming` takes over what others left; `unacked`
is what is in hand, and `renewal` keeps it; `unsettled` remembers outcomes until the server has answered; `settling`
sends them; `in_flight` waits while coroutines run.
"""
