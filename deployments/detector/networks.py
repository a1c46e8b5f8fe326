"""The detection networks, by their names in the catalogue."""

from deployments.detector.network import Body, RetinaFace

_BODIES: dict[str, Body] = {"retinaface-resnet50": "resnet50"}


def empty_network(name: str) -> RetinaFace:
    """The network without weights."""
    return RetinaFace(_BODIES[name])
