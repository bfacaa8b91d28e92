"""One consumer of one group, in one thread, with a connection of its own.

`consumer` is the loop; `connection` makes its connection anew; `reader` asks for batches, and `batch_size` bounds them;
`claiming` takes over what others left; `unacked` is what it has in hand, and `renewal` keeps it; `unsettled` remembers
outcomes until the server has answered; `settling` sends them; `in_flight` waits while coroutines run; `quarantine` runs
suspects alone.
"""
