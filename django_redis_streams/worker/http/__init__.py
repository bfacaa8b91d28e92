"""What a worker tells by HTTP: `exporter` is the process that does, `server` answers, `health` judges."""
