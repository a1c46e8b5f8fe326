"""The ResNet-50 body (He et al., "Deep Residual Learning for Image Recognition", 2015).

The stride sits on the 3x3 convolution of a unit and the entries are named as in torchvision's
`resnet50`, from which the published detector was trained. The classifier is left out.
"""

from torch import Tensor, nn

_EXPANSION = 4


class Bottleneck(nn.Module):
    """Bottleneck unit: 1x1, 3x3 and 1x1 convolutions beside a shortcut, to `4 * width` channels."""

    def __init__(self, in_channels: int, *, width: int, stride: int) -> None:
        super().__init__()
        out_channels = _EXPANSION * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels=out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out)) + self.downsample(x)
        activated: Tensor = self.relu(out)
        return activated


class ResNet50(nn.Module):
    """ResNet-50 body: features of strides 8, 16 and 32 with 512, 1024 and 2048 channels."""

    out_channels = (512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, width=64, units=3, stride=1)
        self.layer2 = _stage(256, width=128, units=4, stride=2)
        self.layer3 = _stage(512, width=256, units=6, stride=2)
        self.layer4 = _stage(1024, width=512, units=3, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: float32 [B, 3, H, W]. Returns the features of strides 8, 16 and 32."""
        stem = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        stride_8 = self.layer2(self.layer1(stem))
        stride_16 = self.layer3(stride_8)
        return stride_8, stride_16, self.layer4(stride_16)


def _shortcut(in_channels: int, *, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(out_channels))


def _stage(in_channels: int, *, width: int, units: int, stride: int) -> nn.Sequential:
    first = Bottleneck(in_channels, width=width, stride=stride)
    rest = (Bottleneck(_EXPANSION * width, width=width, stride=1) for _ in range(units - 1))
    return nn.Sequential(first, *rest)
