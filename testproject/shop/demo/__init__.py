"""The parts of `manage.py demo`: purchases, the outage of the server, the workers, and the books."""
