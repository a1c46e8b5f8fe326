"""The detector's networks by the names that the catalogue has for them."""

from deployments.detector.network import Body, RetinaFace

_BODIES: dict[str, Body] = {
    "retinaface-resnet50": "resnet50",
    "retinaface-mobilenet025": "mobilenet025",
}


def empty_network(name: str) -> RetinaFace:
    return RetinaFace(_BODIES[name])
