"""dlib's face recognition network: a residual network of 29 convolutions, 128 numbers.

The network of `dlib_face_recognition_resnet_model_v1.dat`, after He et al., "Deep Residual Learning
for Image Recognition" (2015), with half of the channels. `deployments/weights/dlib_file.py` names
the entries.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

EMBEDDING_SIZE = 128

# Sides of the first unit's input: 150 pixels, halved by the stem and by its pooling.
_BODY_SIDE = 35
# Channels of the stages, their units, and whether their first unit halves the sides.
_STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))


class DlibUnit(nn.Module):
    """Two convolutions of 3x3 beside a shortcut. The first may halve the sides, without padding.

    Where one of both has fewer channels, or a side less, zeros fill it up. side: of the input.
    """

    def __init__(self, in_channels: int, *, out_channels: int, halves: bool, side: int) -> None:
        super().__init__()
        self.halves = halves
        stride, padding = (2, 0) if halves else (1, 1)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=padding)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.side = side // 2 if halves else side
        missing = self.side - (side - 1) // 2 if halves else 0
        self._fill = nn.ZeroPad2d((0, missing, 0, missing))
        self._more_channels = nn.ZeroPad3d((0, 0, 0, 0, 0, out_channels - in_channels))

    def forward(self, x: Tensor) -> Tensor:
        """float32 [B, C, side, side]."""
        out = self.conv2(functional.relu(self.conv1(x)))
        shortcut = functional.avg_pool2d(x, 2) if self.halves else x
        return functional.relu(self._fill(out) + self._more_channels(shortcut))


class DlibResNet(nn.Module):
    """dlib's network. Load weights and call `.eval()` before use."""

    output_names: ClassVar[tuple[str, ...]] = ("embedding",)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        self.body = nn.Sequential()
        in_channels, side = 32, _BODY_SIDE
        for channels, units, halves in _STAGES:
            for index in range(units):
                unit = DlibUnit(
                    in_channels, out_channels=channels, halves=halves and index == 0, side=side
                )
                self.body.append(unit)
                in_channels, side = channels, unit.side
        self.fc = nn.Linear(in_channels, EMBEDDING_SIZE, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [B, 3, 150, 150], RGB, (pixel - (122.782, 117.001, 104.298)) / 256.

        Returns the embedding, float32 [B, 128], not normalised.
        """
        x = functional.max_pool2d(functional.relu(self.stem(x)), 3, stride=2)
        embedding: Tensor = self.fc(self.body(x).mean(dim=(2, 3)))
        return embedding
