"""RTS, an IR-SE network of 64 layers that gives an embedding and its uncertainty.

Shang et al., "Improving Training and Inference of Face Recognition Models via Random Temperature
Scaling", 2022. Entry names as in ModelScope's `damo/cv_ir_face-recognition-ood_rts`.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from deployments.contracts import EMBEDDING_SIZE
from deployments.errors import InvalidWeights
from deployments.recognizer.residual import (
    FINAL_CELLS,
    STAGE_CHANNELS,
    StageUnits,
    ir_body,
    ir_stem,
)
from deployments.weights.checkpoints import Checkpoint
from deployments.weights.find import CONFIGURATION

IRSE64_UNITS: StageUnits = (3, 8, 16, 3)

_ALPHA_ENTRY = "logvar_rts_plus_backbone.0.weight"


class RTSNetwork(nn.Module):
    """RTS network. Load weights and call `.eval()` before use.

    alpha: width of the RTS+ log-variance head. rts_plus: use that head instead of the plain one.
    Checkpoints hold both log-variance heads, whichever was trained. So the entries' shapes
    do not show `rts_plus`; the checkpoint's `configuration.json` states it.
    """

    output_names: ClassVar[tuple[str, ...]] = ("embedding", "uncertainty")

    def __init__(self, *, alpha: int, rts_plus: bool) -> None:
        super().__init__()
        self.rts_plus = rts_plus
        channels = STAGE_CHANNELS[-1]
        self.features = nn.Sequential(
            ir_stem(),
            ir_body(IRSE64_UNITS, squeeze_excitation=True),
            nn.Sequential(nn.BatchNorm2d(channels), nn.Flatten()),
        )
        self.features_backbone = _head(channels * FINAL_CELLS, values=EMBEDDING_SIZE)
        self.logvar_rts_backbone = _head(channels * FINAL_CELLS, values=1)
        self.logvar_rts_plus_backbone = _head(channels * FINAL_CELLS, values=alpha)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: float32 [B, 3, 112, 112], RGB, (pixel / 255 - 0.5) / 0.5.

        Returns the embedding, float32 [B, 512], not normalised, and the uncertainty, the
        exponential of the log-variance: float32 [B, 1], or [B, alpha] with `rts_plus`.
        """
        features = self.features(x)
        head = self.logvar_rts_plus_backbone if self.rts_plus else self.logvar_rts_backbone
        return self.features_backbone(features), head(features).exp()


def rts_network(checkpoint: Checkpoint) -> RTSNetwork:
    """Build the network that a checkpoint fits.

    `alpha` and `rts_plus` are read from `model` in the checkpoint's `configuration.json`, which
    ModelScope passes to the network, else from its top level. By default `alpha` is the width of
    the RTS+ head, and `rts_plus` is false. Raises InvalidWeights.
    """
    configuration = checkpoint.configuration
    model = configuration.get("model")
    settings = {**configuration, **(model if isinstance(model, Mapping) else {})}
    alpha = settings.get("alpha")
    if alpha is None:
        alpha = alpha_from_entries(checkpoint.entries, source=checkpoint.source)
    rts_plus = settings.get("rts_plus", False)
    if not isinstance(alpha, int) or isinstance(alpha, bool) or alpha < 1:
        raise _invalid_setting(checkpoint, "alpha", "a whole number above 0", alpha)
    if not isinstance(rts_plus, bool):
        raise _invalid_setting(checkpoint, "rts_plus", "true or false", rts_plus)
    return RTSNetwork(alpha=alpha, rts_plus=rts_plus)


def alpha_from_entries(entries: Mapping[str, Tensor], *, source: str) -> int:
    """The `alpha` of a checkpoint's network: the width of its RTS+ head. Raises InvalidWeights."""
    if _ALPHA_ENTRY not in entries:
        raise InvalidWeights(
            f"{source}: entry {_ALPHA_ENTRY!r}, which has the width alpha, is missing",
            source=source,
            entry=_ALPHA_ENTRY,
        )
    return entries[_ALPHA_ENTRY].shape[0]


def _invalid_setting(
    checkpoint: Checkpoint, key: str, expected: str, found: object
) -> InvalidWeights:
    return InvalidWeights(
        f"{checkpoint.source}: {key} in its {CONFIGURATION}: expected {expected}, got {found!r}",
        source=checkpoint.source,
    )


def _head(in_features: int, *, values: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_features, values), nn.BatchNorm1d(values))
