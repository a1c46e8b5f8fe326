"""Arrow tables of faces: a row for each face, its embeddings beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deployments.contracts import Detections, Embeddings, FloatArray, Reason
from deployments.errors import InvalidRequest
from deployments.images.template import rolls

# Column names; the last three are prefixes: a recognizer's name follows.
PHOTO, FACE, PROBLEM = "photo", "face", "problem"
EMBEDDING, UNCERTAINTY, VERSION = "embedding_", "uncertainty_", "version_"
# Count of values: x1 y1 x2 y2 of a box, x y of five landmarks.
_BOX, _LANDMARKS = 4, 10


@dataclass(frozen=True)
class PhotoFaces:
    """The faces of a photo of `width` x `height` pixels, embedded by each recognizer, or the
    problem with the photo.

    photo: its name, as `names.text_of` gives it. quality: float32 [N], 0 to 1, and each face's
    faults; None and empty if not measured.
    """

    photo: str
    width: int = 0
    height: int = 0
    detections: Detections | None = None
    embeddings: Sequence[Embeddings] = ()
    quality: FloatArray | None = None
    reasons: Sequence[Sequence[Reason]] = ()
    problem: str | None = None


def faces_schema(recognizers: Mapping[str, int]) -> pa.Schema:
    """Columns of a table whose every row is a face. recognizers: numbers in an embedding, by name.

    photo: its name, which `names.path_of` maps back to its path in the folder. box: x1 y1 x2 y2.
    landmarks: x y of each of five. Both are in the photo's pixels. roll: degrees by which the face
    is turned clockwise. quality: 0 to 1, the lowest over the recognizers. reasons: its faults. The
    last two are null where they were not measured. Embeddings have L2 norm 1; uncertainties are
    null if a recognizer gives none. version: of the recognizer's model and weights; null if a
    server does not tell it.
    """
    columns = [
        (PHOTO, pa.string()),
        (FACE, pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("box", pa.list_(pa.float32(), _BOX)),
        ("score", pa.float32()),
        ("landmarks", pa.list_(pa.float32(), _LANDMARKS)),
        ("roll", pa.float32()),
        ("quality", pa.float32()),
        ("reasons", pa.list_(pa.string())),
    ]
    for name, size in recognizers.items():
        columns += [
            (EMBEDDING + name, pa.list_(pa.float32(), size)),
            (UNCERTAINTY + name, pa.float32()),
            (VERSION + name, pa.string()),
        ]
    return pa.schema(columns)


def results_schema(recognizers: Mapping[str, int]) -> pa.Schema:
    """Columns of results: those of `faces_schema` and the problem. A photo without a face, or with
    a problem, has one row, whose face is null."""
    return faces_schema(recognizers).append(pa.field(PROBLEM, pa.string()))


def results_table(photos: Sequence[PhotoFaces], recognizers: Mapping[str, int]) -> pa.Table:
    """Rows of `results_schema`, in the order of the photos. Raises InvalidRequest for embeddings of
    another length."""
    schema = results_schema(recognizers)
    return pa.concat_tables([_rows(photo, schema) for photo in photos])


def faces_of(results: pa.Table) -> pa.Table:
    """The rows that are faces, with the columns of `faces_schema`."""
    return results.filter(results[FACE].is_valid()).drop_columns([PROBLEM])


def problems_of(results: pa.Table) -> dict[str, str]:
    """The problem of each photo that has one."""
    bad = results.filter(results[PROBLEM].is_valid())
    return dict(zip(bad[PHOTO].to_pylist(), bad[PROBLEM].to_pylist(), strict=True))


def _rows(photo: PhotoFaces, schema: pa.Schema) -> pa.Table:
    detections = photo.detections
    if detections is None or not len(detections):
        row = {PHOTO: photo.photo, PROBLEM: photo.problem}
        return pa.Table.from_pylist([row], schema=schema)
    count = len(detections)
    columns = {
        PHOTO: [photo.photo] * count,
        FACE: range(count),
        "width": [photo.width] * count,
        "height": [photo.height] * count,
        "box": _vectors(detections.boxes),
        "score": detections.scores,
        "landmarks": _vectors(detections.landmarks.reshape(count, _LANDMARKS)),
        "roll": rolls(detections.landmarks),
        "quality": [None] * count if photo.quality is None else photo.quality,
        "reasons": [None] * count if photo.quality is None else photo.reasons,
        PROBLEM: [None] * count,
    }
    for part in photo.embeddings:
        column = EMBEDDING + part.recognizer
        columns[column] = _vectors(part.vectors)
        if columns[column].type != schema.field(column).type:
            raise InvalidRequest(
                f"{part.recognizer} gives embeddings of {part.vectors.shape[1]} numbers now, as"
                " another model than before",
                field="recognizers",
            )
        columns[UNCERTAINTY + part.recognizer] = (
            [None] * count if part.uncertainty is None else part.uncertainty
        )
        columns[VERSION + part.recognizer] = [part.version] * count
    return pa.table(columns, schema=schema)


def _vectors(values: npt.NDArray[np.float32]) -> pa.Array:
    """float32 [N,K] to N lists of K."""
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
