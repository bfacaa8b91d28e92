"""What a worker tells by HTTP: `exporter` is the process for it, `server` answers requests, `health` judges."""
