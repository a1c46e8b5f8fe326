"""The MobileNet body at a quarter of its width (Howard et al., "MobileNets", 2017).

Units, LeakyReLU slope and entry names follow the `mobilenet0.25` body of
biubug6/Pytorch_Retinaface, whose `mobilenet0.25_Final` checkpoint it loads; the classifier that the
body was pretrained with is left out.
"""

from torch import Tensor, nn

from deployments.detector.layers import conv_bn, rectifier

_SLOPE = 0.1


class MobileNet025(nn.Module):
    """MobileNet body: features of strides 8, 16 and 32 with 64, 128 and 256 channels."""

    out_channels = (64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            conv_bn(3, 8, stride=2, activation=rectifier(_SLOPE)),
            _separable(8, 16),
            _separable(16, 32, stride=2),
            _separable(32, 32),
            _separable(32, 64, stride=2),
            _separable(64, 64),
        )
        self.stage2 = nn.Sequential(
            _separable(64, 128, stride=2), *(_separable(128, 128) for _ in range(5))
        )
        self.stage3 = nn.Sequential(_separable(128, 256, stride=2), _separable(256, 256))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: float32 [B, 3, H, W]. Returns the features of strides 8, 16 and 32."""
        stride_8 = self.stage1(x)
        stride_16 = self.stage2(stride_8)
        return stride_8, stride_16, self.stage3(stride_16)


def _separable(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution per channel, then a 1x1 convolution over channels, in one flat sequence."""
    depthwise = conv_bn(
        in_channels, in_channels, stride=stride, groups=in_channels, activation=rectifier(_SLOPE)
    )
    pointwise = conv_bn(in_channels, out_channels, kernel=1, activation=rectifier(_SLOPE))
    return nn.Sequential(*depthwise, *pointwise)
