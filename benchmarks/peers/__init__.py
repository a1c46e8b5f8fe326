"""Other servers of the same answers, each of one process, for `python -m benchmarks.servers`."""
