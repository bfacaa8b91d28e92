"""The tests of django_redis_streams: real servers, no mocks of the queue."""
