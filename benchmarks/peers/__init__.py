"""Other servers with the same graph. Each runs in its own environment, and imports nothing of ours but this package."""
