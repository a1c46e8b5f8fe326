"""Free ports, and an application that does not start in time."""

import re
import socket

import pytest

from graph.cluster.launch import RunningGraph, deploy
from graph.cluster.preflight import LaunchFailed, free_port
from tests.support.waiting import TIMEOUT_S


def test_free_ports_are_free_and_none_that_ray_or_the_system_gives_away() -> None:
    for _ in range(50):
        port = free_port()
        assert 20_000 <= port < 30_000
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_an_application_that_takes_too_long_is_given_up(running: RunningGraph) -> None:
    shipped = running.content["applications"][0]
    nowhere = [
        {"name": one["name"], "ray_actor_options": {"num_cpus": 4000}}
        for one in shipped["deployments"]
    ]
    stuck = shipped | {"name": "stuck", "route_prefix": "/stuck", "deployments": nowhere}
    more = running.content | {"applications": [*running.content["applications"], stuck]}
    try:
        for timeout_s in (3, 10, 30, 100):
            with pytest.raises(LaunchFailed, match=f"not ready after {timeout_s} s: ") as given_up:
                deploy(more, timeout_s=timeout_s)
            if "no deployment is known yet" not in str(given_up.value):
                break  # a busy machine takes longer to know the stages
        assert re.search("waiting for .*Detector", str(given_up.value))
    finally:
        deploy(running.content, timeout_s=TIMEOUT_S)
