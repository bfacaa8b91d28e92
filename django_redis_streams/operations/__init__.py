"""An operator's actions on messages, groups and streams, for the admin, commands and Python alike.

`dead_letters` finds, replays and discards dead letters; `waiting` acts on retries, delayed messages and the messages
of silent consumers; `groups` makes, pauses, moves and deletes groups; `trimming` trims a stream. Each action is
logged with the user's name.
"""
