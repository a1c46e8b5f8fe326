"""Peers: other servers of face recognition, each of one process, for `benchmarks.servers`."""
