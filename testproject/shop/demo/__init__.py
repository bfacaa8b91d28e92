"""What `manage.py demo` is made of: purchases, the workers that handle them, and the books."""
