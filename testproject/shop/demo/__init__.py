"""The parts of `manage.py demo`: purchases, the workers that handle them, and the books."""
