"""Apps that only some projects need. Each needs an extra, and an entry in INSTALLED_APPS."""
