"""What breaks around a worker, provoked on real servers: nothing is lost, and duplicates come only where promised."""
