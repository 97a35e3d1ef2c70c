"""What it costs: cold start, batches and storms, each against the obvious way. `make bench` runs all of it."""
