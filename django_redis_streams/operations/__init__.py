"""What a person does about messages, groups and streams, from the admin, a command or Python alike.

`dead_letters` finds, replays and discards; `waiting` is about retries, delayed messages and what a silent consumer
holds; `groups` makes, pauses, moves and deletes; `trimming` shortens a stream. Who did what is logged.
"""
