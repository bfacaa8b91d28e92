"""A shop that uses django_redis_streams: the example of the docs and the stage of `make demo`."""
