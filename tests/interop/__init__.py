"""A service in another language on the other end: programs of Node, as docs/other-languages.md shows them."""
