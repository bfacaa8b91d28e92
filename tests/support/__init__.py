"""What tests are made with: servers, workers, proxies, handlers, documents. No tests in here."""
