"""The shop's tests, with pytest and with Django's TestCase: no server is needed for them."""
