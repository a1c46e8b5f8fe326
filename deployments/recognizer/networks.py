"""The recognition networks, by their names in the catalogue."""

from torch import nn

from deployments.recognizer.dlib_resnet import DlibResNet
from deployments.recognizer.ir252 import IR252
from deployments.recognizer.iresnet import IResNet
from deployments.recognizer.irse import rts_network
from deployments.weights.checkpoints import Checkpoint


def empty_network(name: str, checkpoint: Checkpoint) -> nn.Module:
    """The network without weights, built to fit the checkpoint. Raises InvalidWeights."""
    match name:
        case "iresnet50":
            return IResNet()
        case "ir252":
            return IR252()
        case "dlib-resnet29":
            return DlibResNet()
        case "irse64":
            return rts_network(checkpoint)
    raise ValueError(f"no network {name!r}")
