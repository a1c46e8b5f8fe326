"""Other ways to serve the same answers, each a small server of one process for
`python -m benchmarks.servers`."""
