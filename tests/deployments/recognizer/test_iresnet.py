import torch

from deployments.recognizer.iresnet import IResNet
from tests.support import parity


def test_entries_are_those_of_the_published_checkpoint() -> None:
    with torch.device("meta"):
        network = IResNet()
    assert parity.shapes_of(network) == parity.published_shapes("arcface_ir50")
