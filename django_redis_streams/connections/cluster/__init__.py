"""A cluster: which node has a key, and links that send each command to the node that has its key.

`slots` tells a command's key and its slot, `topology` which node has that; `routing` sends commands there, and again
where a node says that it hasn't executed them; `links` are those that `connections` hands out.
"""
