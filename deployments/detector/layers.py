"""The convolution unit of the MobileNet body, the feature pyramid and the context modules."""

from torch import nn


def conv_bn(
    in_channels: int,
    out_channels: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: nn.Module | None = None,
) -> nn.Sequential:
    """Convolution (entry `0`), BatchNorm (entry `1`), and the activation if given."""
    convolution = nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
        bias=False,
    )
    unit = nn.Sequential(convolution, nn.BatchNorm2d(out_channels))
    if activation is not None:
        unit.append(activation)
    return unit


def rectifier(slope: float) -> nn.Module:
    """LeakyReLU with `slope` as its gradient below zero; ReLU if `slope` is 0."""
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
