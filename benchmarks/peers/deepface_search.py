"""DeepFace's searches among stored faces: PYTHON benchmarks/peers/deepface_search.py FOLDER DSN

Runs in an environment of its own, with DeepFace and without FaceGraph:
`pip install deepface flask pgvector 'psycopg[binary]'`. DeepFace takes photos, not embeddings. So
its network is a stand-in: each photo is four pixels that write a number, and the stand-in answers
the embedding of that number. Everything else is DeepFace's own, with its defaults: `find` in a
folder of photos, and `register` and `search` in PostgreSQL, by all cosines, and by pgvector's HNSW
index.

FOLDER has `embeddings.npy`, float32 [N,D]: the faces, and after them the probes, of which
`probes.txt` has the number. Each search gets all probes, or as many as fit into LONGEST_S;
`measured.json` gets for each search its name, the seconds to store the faces, the seconds of each
probe, and the number of the first face that it found, or -1.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

LONGEST_S, FEWEST = 60.0, 3
# The index takes each face by itself.
INDEXED_AT_MOST = 10_000
_A_CALL = 1000
OPTIONS = {
    "model_name": "ArcFace",
    "detector_backend": "skip",
    "enforce_detection": False,
    "align": False,
    "k": 5,
}

Search = Callable[[Any], Any]


def main() -> None:
    folder, dsn = Path(sys.argv[1]), sys.argv[2]
    os.environ |= {"DEEPFACE_HOME": str(folder), "DEEPFACE_LOG_LEVEL": "40"}
    vectors, count = np.load(folder / "embeddings.npy"), int((folder / "probes.txt").read_text())
    stand_in(vectors)
    photos = folder / "photos"
    photos.mkdir()
    stored = [str(photos / f"{number}.png") for number in range(len(vectors) - count)]
    write(stored)
    probes = [pixels(number) for number in range(len(stored), len(vectors))]
    in_database = partial(found_in_database, dsn=dsn, stored=stored, probes=probes)
    found = [
        found_in_folder(photos, probes),
        in_database("DeepFace, search", kind="postgres", method="exact"),
    ]
    if len(stored) <= INDEXED_AT_MOST:
        found.append(in_database("DeepFace, search by HNSW", kind="pgvector", method="ann"))
    (folder / "measured.json").write_text(json.dumps(found))


def pixels(number: int) -> Any:
    """uint8 [2,2,3]: the number's bytes, the lowest first, and white."""
    written = np.array([*number.to_bytes(3, "little"), 255], np.uint8)
    return np.repeat(written.reshape(2, 2, 1), 3, axis=2)


def write(files: Sequence[str]) -> None:
    for number, file in enumerate(files):
        cv2.imwrite(file, pixels(number))


def stand_in(vectors: Any) -> None:
    """Put a stand-in in the place of ArcFace's network."""
    from deepface.models.FacialRecognition import FacialRecognition
    from deepface.modules import modeling

    class StandIn(FacialRecognition):  # type: ignore[misc]
        model_name, input_shape, output_shape = "ArcFace", (2, 2), vectors.shape[1]

        def forward(self, img: Any) -> Any:
            """img: float32 [B,2,2,3] in [0, 1]."""
            places = np.rint(img[..., 0].reshape(-1, 4)[:, :3] * 255) @ (1, 256, 65536)
            found = vectors[places.astype(int)].tolist()
            return found if len(found) > 1 else found[0]

    modeling.cached_models = {task: {} for task in modeling.AVAILABLE_MODELS}
    modeling.cached_models["facial_recognition"]["ArcFace"] = StandIn()


def found_in_folder(photos: Path, probes: Sequence[Any]) -> dict[str, Any]:
    from deepface import DeepFace

    def search(probe: Any) -> Any:
        [found] = DeepFace.find(probe, str(photos), silent=True, **OPTIONS)
        return found

    began = time.perf_counter()
    search(probes[0])  # stores the embeddings of all photos
    return measured("DeepFace, find", time.perf_counter() - began, search, "identity", probes)


def found_in_database(
    name: str, dsn: str, stored: Sequence[str], probes: Sequence[Any], *, kind: str, method: str
) -> dict[str, Any]:
    """kind: of the database, and method: of the search, as DeepFace names them."""
    from deepface import DeepFace

    database = {"database_type": kind, "connection_details": dsn, "l2_normalize": True}
    shared = {option: value for option, value in OPTIONS.items() if option != "k"} | database

    def search(probe: Any) -> Any:
        found = DeepFace.search(probe, search_method=method, **OPTIONS, **database)
        return found[0] if found else ()

    began = time.perf_counter()
    for start in range(0, len(stored), _A_CALL):
        DeepFace.register(list(stored[start : start + _A_CALL]), **shared)
    return measured(name, time.perf_counter() - began, search, "img_name", probes)


def measured(
    name: str, build_s: float, search: Search, column: str, probes: Sequence[Any]
) -> dict[str, Any]:
    """column: of the found photo's file, in the answer."""
    times, found, began = list[float](), list[int](), time.perf_counter()
    for probe in probes:
        if len(times) >= FEWEST and time.perf_counter() - began > LONGEST_S:
            break
        started = time.perf_counter()
        answer = search(probe)
        times.append(time.perf_counter() - started)
        found.append(int(Path(answer[column][0]).stem) if len(answer) else -1)
    return {"method": name, "build_s": build_s, "times": times, "found": found}


if __name__ == "__main__":
    main()
