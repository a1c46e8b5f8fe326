"""IR-252, the recognition network for masked faces.

Entry names as in ModelScope's `damo/cv_resnet_face-recognition_facemask`.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from deployments.contracts import EMBEDDING_SIZE
from deployments.recognizer.residual import (
    FINAL_CELLS,
    STAGE_CHANNELS,
    StageUnits,
    ir_body,
    ir_stem,
)

IR252_UNITS: StageUnits = (6, 21, 66, 6)


class IR252(nn.Module):
    """IR network of 252 layers. Load weights and call `.eval()` before use."""

    output_names: ClassVar[tuple[str, ...]] = ("embedding",)

    def __init__(self) -> None:
        super().__init__()
        channels = STAGE_CHANNELS[-1]
        self.input_layer = ir_stem()
        self.bn2 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels * FINAL_CELLS, EMBEDDING_SIZE)
        self.features = nn.BatchNorm1d(EMBEDDING_SIZE)
        self.body = ir_body(IR252_UNITS, squeeze_excitation=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [B, 3, 112, 112], RGB, (pixel / 255 - 0.5) / 0.5.

        Returns the embedding, float32 [B, 512], not normalised.
        """
        x = self.bn2(self.body(self.input_layer(x)))
        embedding: Tensor = self.features(self.fc(torch.flatten(x, 1)))
        return embedding
