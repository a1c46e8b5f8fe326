"""The default models in a plain server: python -m benchmarks.peers.plain

The server that a good engineer writes around two ONNX files in an afternoon: RetinaFace-MobileNet
and ArcFace-MobileFaceNet, each in one session of ONNX Runtime, whose threads do not spin. For
a fair comparison, everything but the serving is the graph's own (weights, photo size, threshold,
suppression, choice of the largest face and alignment). The server has nothing of the graph's own
features: limits, a second pass for photos without a face, batches, stages, OpenVINO. With
`--coarse-to-fine` it has the graph's small look at the photo and view of the largest face.
"""

from typing import Any

import onnxruntime

from benchmarks.peers.engine import Network, RetinaFaceEngine
from benchmarks.peers.server import peer_options, serve
from configs.catalogue import CATALOGUE
from configs.detector import DetectorConfig
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, FloatArray
from deployments.inference.onnx_runtime import normalise
from deployments.weights.find import find_weights


def onnx_network(model_id: str, *, threads: int) -> Network:
    """A model of the catalogue in a session of its own."""
    model = CATALOGUE[model_id]
    content = find_weights(model, None).content
    session = onnxruntime.InferenceSession(content, session_options(threads))
    name = session.get_inputs()[0].name

    def run(pixels: ByteArray) -> list[FloatArray]:
        planes = normalise(pixels[None], model.preprocessing)
        return [output[0] for output in session.run(None, {name: planes})]

    return run


def session_options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin between calls would take cores from other calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def plain_engine(*, threads: int, coarse_to_fine: bool = False) -> RetinaFaceEngine:
    config = DetectorConfig()
    return RetinaFaceEngine(
        detector=onnx_network(config.model, threads=threads),
        recognizer=onnx_network(RecognizerConfig().model, threads=threads),
        config=config,
        coarse_to_fine=coarse_to_fine,
    )


def main() -> None:
    parser = peer_options(__doc__.splitlines()[0])
    parser.add_argument("--coarse-to-fine", action="store_true", help="as the graph's detector")
    options = parser.parse_args()
    options.threads = options.threads or 1
    engine = plain_engine(threads=options.threads, coarse_to_fine=options.coarse_to_fine)
    serve(engine, options)


if __name__ == "__main__":
    main()
