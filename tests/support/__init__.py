"""The tests' tools: servers, workers, proxies, handlers, documents. No tests in here."""
