"""Peers: other face-recognition servers, of one process each, that `benchmarks.servers` measures."""
