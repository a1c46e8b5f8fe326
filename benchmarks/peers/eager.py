"""The published networks in eager PyTorch: python -m benchmarks.peers.eager --weights FOLDER

RetinaFace-R50 and ArcFace-IR50 in float32, as published, one photo at a time, in a plain server.
FOLDER holds `retinaface-r50/pytorch_model.pt` and `arcface-ir50/pytorch_model.pt`; the graph that
it is compared with reads the same files.

The published weights cannot be shipped, so `save_stand_ins` writes the deterministic ones of the
tests: every entry is drawn from its name. With them the detector finds no real faces, yet always
the same boxes: nearly every anchor scores high, and over `SCORE_THRESHOLD` a dozen are left in each
of the two group photos (gdp.jpg, players.jpg), about as many as the photos have faces. These boxes
go through suppression, alignment and the recognizer, in the graph as here.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.engine import Network, RetinaFaceEngine
from benchmarks.peers.server import peer_options, serve
from configs.catalogue import CATALOGUE
from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.detector.network import RetinaFace
from deployments.recognizer.iresnet import IResNet
from deployments.weights.checkpoints import load_checkpoint, load_strictly
from tests.support.published_models import save_models

DETECTOR, RECOGNIZER = "retinaface-r50", "arcface-ir50"
SCORE_THRESHOLD = 0.98


def save_stand_ins(folder: Path) -> Path:
    """Stand-in weights for both networks, as FACEGRAPH_MODELS takes them."""
    return save_models(folder, DETECTOR, RECOGNIZER)


def eager_network(
    module: nn.Module, model_id: str, folder: Path, *, device: str, tuned: bool
) -> Network:
    """tuned: in float16 and channels last, with cuDNN's algorithms tried out."""
    model = CATALOGUE[model_id]
    checkpoint = load_checkpoint(folder / model_id / model.weights_file)
    load_strictly(module, entries=checkpoint.entries, source=checkpoint.source)
    kind = torch.float16 if tuned else torch.float32
    memory = torch.channels_last if tuned else torch.contiguous_format
    module.eval().to(device, kind, memory_format=memory)  # type: ignore[call-overload]
    torch.backends.cudnn.benchmark = tuned
    mean = torch.tensor(model.preprocessing.mean, device=device).view(3, 1, 1)

    def run(pixels: ByteArray) -> list[FloatArray]:
        planes = torch.from_numpy(pixels).to(device).permute(2, 0, 1).float()
        planes = (planes.flip(0) if model.preprocessing.rgb else planes) - mean
        batch = (planes / model.preprocessing.scale).unsqueeze(0)
        with torch.inference_mode():
            answers = module(batch.to(kind, memory_format=memory))
        return [answer[0].float().cpu().numpy() for answer in _several(answers)]

    return run


def eager_engine(folder: Path, *, device: str = "cpu", tuned: bool = False) -> RetinaFaceEngine:
    where: dict[str, Any] = {"device": device, "tuned": tuned}
    return RetinaFaceEngine(
        detector=eager_network(RetinaFace("resnet50"), DETECTOR, folder, **where),
        recognizer=eager_network(IResNet(), RECOGNIZER, folder, **where),
        config=DetectorConfig(model=DETECTOR, score_threshold=SCORE_THRESHOLD),
    )


def _several(answers: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (answers,) if isinstance(answers, Tensor) else answers


def main() -> None:
    parser = peer_options(__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--tuned", action="store_true", help="float16, channels last; needs cuda")
    options = parser.parse_args()
    options.threads = options.threads or torch.get_num_threads()
    torch.set_num_threads(options.threads)
    engine = eager_engine(options.weights, device=options.device, tuned=options.tuned)
    serve(engine, options)


if __name__ == "__main__":
    main()
