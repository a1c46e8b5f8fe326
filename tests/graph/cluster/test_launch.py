"""Free ports, and a graph that does not start in time."""

import socket

import pytest

from graph.cluster.launch import LaunchFailed, RunningGraph, deploy, free_port


def test_free_ports_are_free_and_none_that_ray_or_the_system_gives_away() -> None:
    for _ in range(50):
        port = free_port()
        assert 20_000 <= port < 30_000
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_a_deployment_that_takes_too_long_is_given_up(running: RunningGraph) -> None:
    with pytest.raises(LaunchFailed, match=r"not done after 0\.2 s"):
        deploy(running.content, address=running.address, timeout_s=0.2)
