"""Residual units and sizes shared by the recognition networks.

The IR unit of the ArcFace paper (Deng et al., 2019) is that of TreB1eN/InsightFace_Pytorch, whose
entry names (`res_layer`, `shortcut_layer`) the RTS and FaceMask checkpoints use. Squeeze and
excitation: "Squeeze-and-Excitation Networks" (Hu et al., 2017).
"""

from torch import Tensor, nn
from torch.nn import functional

StageUnits = tuple[int, int, int, int]

STAGE_CHANNELS = (64, 128, 256, 512)
# Four stages of stride 2 leave 7 x 7 cells of a 112 x 112 chip.
FINAL_CELLS = 7 * 7

_SQUEEZE_RATIO = 16


class SqueezeExcitation(nn.Module):
    """Squeeze and excitation: scales each channel by a weight in (0, 1).

    The weights are computed from the means of all channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _SQUEEZE_RATIO, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _SQUEEZE_RATIO, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = functional.adaptive_avg_pool2d(x, 1)
        weights = self.fc2(functional.relu(self.fc1(means))).sigmoid()  # [B, C, 1, 1]
        scaled: Tensor = x * weights
        return scaled


class IRUnit(nn.Module):
    """IR unit: two 3x3 convolutions, the second with the stride, beside a shortcut."""

    def __init__(
        self, in_channels: int, *, out_channels: int, stride: int, squeeze_excitation: bool
    ) -> None:
        super().__init__()
        self.shortcut_layer = _shortcut(in_channels, out_channels=out_channels, stride=stride)
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        if squeeze_excitation:
            self.res_layer.append(SqueezeExcitation(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


def ir_stem() -> nn.Sequential:
    """The first layers: RGB [B, 3, H, W] to 64 channels of the same size."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
    )


def ir_body(units: StageUnits, *, squeeze_excitation: bool) -> nn.Sequential:
    """The units of the four stages in one sequence; the first of each stage halves H and W."""
    body = nn.Sequential()
    in_channels = 64
    for out_channels, count in zip(STAGE_CHANNELS, units, strict=True):
        for index in range(count):
            unit = IRUnit(
                in_channels,
                out_channels=out_channels,
                stride=2 if index == 0 else 1,
                squeeze_excitation=squeeze_excitation,
            )
            body.append(unit)
            in_channels = out_channels
    return body


def projection(in_channels: int, *, out_channels: int, stride: int) -> nn.Sequential:
    """The shortcut of a unit that changes the number of channels or the size."""
    convolution = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


def _shortcut(in_channels: int, *, out_channels: int, stride: int) -> nn.Module:
    if in_channels != out_channels:
        return projection(in_channels, out_channels=out_channels, stride=stride)
    # With a window of one pixel, pooling only skips rows and columns by the stride.
    return nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
