"""Redis Streams for Django: publish on commit, handle, retry, dead-letter, replay."""
