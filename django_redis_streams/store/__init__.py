"""What happens on the server: the only room where a Redis command is written.

A function takes a `Link` and the keys it works on, and returns what the server said, in plain values. Its callers
decide when to call it, and what follows from an error.
"""
