"""Apps for what only some projects have. Each needs an extra, and is switched on in INSTALLED_APPS."""
