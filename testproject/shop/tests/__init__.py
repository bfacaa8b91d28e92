"""The shop's tests, with pytest and with Django's TestCase. They need no server."""
