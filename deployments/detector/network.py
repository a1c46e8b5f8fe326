"""RetinaFace (Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019).

Feature pyramid, SSH context modules (Najibi et al., "SSH: Single Stage Headless Face Detector",
2017) and heads as in biubug6/Pytorch_Retinaface, from which ModelScope's
`damo/cv_resnet50_face-detection_retinaface` comes. Attribute names are the entry names of these
checkpoints, odd capitals included.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from deployments.detector.layers import conv_bn, rectifier
from deployments.detector.mobilenet import MobileNet025
from deployments.detector.resnet import ResNet50

Body = Literal["resnet50", "mobilenet025"]

ANCHORS_PER_CELL = 2

# The published networks use LeakyReLU only in pyramids of at most this width, else ReLU.
_LEAKY_UP_TO_CHANNELS = 64
_PYRAMID_CHANNELS: dict[Body, int] = {"resnet50": 256, "mobilenet025": 64}


class RetinaFace(nn.Module):
    """RetinaFace: raw outputs for every anchor. Load weights and call `.eval()` before use.

    Anchors are ordered by stride (8, 16, 32), row, column and the two sizes of a cell:
    N = 2 * sum(ceil(H / s) * ceil(W / s) for s in (8, 16, 32)).
    """

    output_names: ClassVar[tuple[str, ...]] = ("loc", "conf", "landmarks")

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = ResNet50() if body == "resnet50" else MobileNet025()
        channels = _PYRAMID_CHANNELS[body]
        self.fpn = FeaturePyramid(self.body.out_channels, channels=channels)
        self.ssh1 = ContextModule(channels)
        self.ssh2 = ContextModule(channels)
        self.ssh3 = ContextModule(channels)
        self.ClassHead = _heads(channels, values=2)
        self.BboxHead = _heads(channels, values=4)
        self.LandmarkHead = _heads(channels, values=10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: float32 [B, 3, H, W], BGR minus (104, 117, 123), any H and W.

        Returns float32 loc [B, N, 4] (cx cy w h offsets), conf [B, N, 2] (probabilities of
        background and face) and landmarks [B, N, 10] (five x y offsets).
        """
        fine, middle, coarse = self.fpn(self.body(x))
        contexts = [self.ssh1(fine), self.ssh2(middle), self.ssh3(coarse)]
        # In half precision, probabilities near 1 would be equal.
        conf = functional.softmax(_outputs(self.ClassHead, contexts).float(), dim=-1)
        return _outputs(self.BboxHead, contexts), conf, _outputs(self.LandmarkHead, contexts)


class FeaturePyramid(nn.Module):
    """Feature pyramid: three levels of equal width, each also added to the next finer one."""

    def __init__(self, in_channels: tuple[int, int, int], *, channels: int) -> None:
        super().__init__()
        activation = rectifier(_slope(channels))
        fine, middle, coarse = in_channels
        self.output1 = conv_bn(fine, channels, kernel=1, activation=activation)
        self.output2 = conv_bn(middle, channels, kernel=1, activation=activation)
        self.output3 = conv_bn(coarse, channels, kernel=1, activation=activation)
        self.merge1 = conv_bn(channels, channels, activation=activation)
        self.merge2 = conv_bn(channels, channels, activation=activation)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = features
        coarse = self.output3(coarse)
        middle = self.merge2(_add_upsampled(self.output2(middle), coarse))
        fine = self.merge1(_add_upsampled(self.output1(fine), middle))
        return fine, middle, coarse


class ContextModule(nn.Module):
    """SSH: 3x3, 5x5 and 7x7 receptive fields, made of 3x3 convolutions, joined as channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        activation = rectifier(_slope(channels))
        self.conv3X3 = conv_bn(channels, half)
        self.conv5X5_1 = conv_bn(channels, quarter, activation=activation)
        self.conv5X5_2 = conv_bn(quarter, quarter)
        self.conv7X7_2 = conv_bn(quarter, quarter, activation=activation)
        self.conv7x7_3 = conv_bn(quarter, quarter)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.conv5X5_1(x)
        view_7x7 = self.conv7x7_3(self.conv7X7_2(shared))
        views = torch.cat([self.conv3X3(x), self.conv5X5_2(shared), view_7x7], dim=1)
        return functional.relu(views)


class Head(nn.Module):
    """Prediction head of one stride: `values` numbers for each anchor."""

    def __init__(self, channels: int, *, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(channels, ANCHORS_PER_CELL * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [B, C, h, w]. Returns float32 [B, h * w * 2, values]."""
        cells: Tensor = self.conv1x1(x).permute(0, 2, 3, 1)  # [B, h, w, 2 * values]
        return cells.reshape(cells.shape[0], -1, self.values)


def _slope(channels: int) -> float:
    return 0.1 if channels <= _LEAKY_UP_TO_CHANNELS else 0.0


def _add_upsampled(fine: Tensor, coarse: Tensor) -> Tensor:
    return fine + functional.interpolate(coarse, size=fine.shape[-2:], mode="nearest")


def _heads(channels: int, *, values: int) -> nn.ModuleList:
    return nn.ModuleList(Head(channels, values=values) for _ in range(3))


def _outputs(heads: nn.ModuleList, contexts: list[Tensor]) -> Tensor:
    outputs = [head(context) for head, context in zip(heads, contexts, strict=True)]
    return torch.cat(outputs, dim=1)
