"""Serve's messages in one line."""

import pytest

from graph.cluster.progress import reason_of

REPLICA = """The deployment failed to start 3 times in a row. See controller logs. Error:
ray::ServeReplica:facegraph:Detector.initialize() (pid=7, ip=127.0.0.1)
  File "deployments/detector/deployment.py", line 40, in __init__
deployments.errors.InvalidWeights: a.onnx: not a network

The above exception was the direct cause of the following exception:

ray::ServeReplica:facegraph:Detector.initialize() (pid=7, ip=127.0.0.1)
  File "ray/serve/_private/replica.py", line 1000, in initialize
RuntimeError: Traceback (most recent call last):
  File "deployments/detector/deployment.py", line 40, in __init__
    raise InvalidWeights(path)
deployments.errors.InvalidWeights: a.onnx: not a network"""


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (REPLICA, "a.onnx: not a network"),
        ("ray::Proxy.ready()\n  File x\nRuntimeError: no\nport", "RuntimeError: no port"),
        ("  File x\na.pybind11_state.Fail: no\nmodel", "a.pybind11_state.Fail: no model"),
        ("No route\nprefix.", "No route prefix."),
    ],
)
def test_a_message_of_serve_becomes_one_line(message: str, sentence: str) -> None:
    assert reason_of(message) == sentence
