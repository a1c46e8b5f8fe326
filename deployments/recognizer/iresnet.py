"""IResNet, the recognition network of ArcFace (Deng et al., 2019).

Improved residual units (Duta et al., "Improved Residual Networks", 2020) with entry names as in
insightface's `arcface_torch`; (3, 4, 14, 3) units load `damo/cv_ir50_face-recognition_arcface`.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from deployments.contracts import EMBEDDING_SIZE
from deployments.recognizer.residual import (
    FINAL_CELLS,
    STAGE_CHANNELS,
    StageUnits,
    projection,
)

IR50_UNITS: StageUnits = (3, 4, 14, 3)


class IResNet(nn.Module):
    """IResNet. Load weights and call `.eval()` before use."""

    output_names: ClassVar[tuple[str, ...]] = ("embedding",)

    def __init__(self, units: StageUnits = IR50_UNITS) -> None:
        super().__init__()
        channels = STAGE_CHANNELS
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        self.layer1 = _stage(64, out_channels=channels[0], units=units[0])
        self.layer2 = _stage(channels[0], out_channels=channels[1], units=units[1])
        self.layer3 = _stage(channels[1], out_channels=channels[2], units=units[2])
        self.layer4 = _stage(channels[2], out_channels=channels[3], units=units[3])
        self.bn2 = nn.BatchNorm2d(channels[3])
        self.fc = nn.Linear(channels[3] * FINAL_CELLS, EMBEDDING_SIZE)
        self.features = nn.BatchNorm1d(EMBEDDING_SIZE)

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [B, 3, 112, 112], RGB, (pixel / 255 - 0.5) / 0.5.

        Returns the embedding, float32 [B, 512], not normalised.
        """
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        embedding: Tensor = self.features(self.fc(torch.flatten(self.bn2(x), 1)))
        return embedding


class IResNetUnit(nn.Module):
    """Improved residual unit: two 3x3 convolutions, three BatchNorms and a shortcut."""

    def __init__(self, in_channels: int, *, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.prelu = nn.PReLU(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            self.downsample = projection(in_channels, out_channels=out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        out: Tensor = self.bn3(self.conv2(residual)) + self.downsample(x)
        return out


def _stage(in_channels: int, *, out_channels: int, units: int) -> nn.Sequential:
    first = IResNetUnit(in_channels, out_channels=out_channels, stride=2)
    rest = (
        IResNetUnit(out_channels, out_channels=out_channels, stride=1) for _ in range(units - 1)
    )
    return nn.Sequential(first, *rest)
