"""Embedders: photos to tables of faces, by the models in this process or by a running graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from configs.catalogue import Chip
from configs.graph import GraphConfig
from deployments.contracts import ByteArray, Detections, Embeddings, FaceChoice, Photo
from deployments.detector.detector import detector_from
from deployments.detector.postprocess import choose
from deployments.errors import PHOTO_ERRORS, DeadlineExceeded, FaceGraphError, FaceNotFound
from deployments.images.alignment import align
from deployments.images.decode import DecodedImage, read_image
from deployments.recognizer.recognizer import recognizer_from
from graph.batch.names import path_of
from graph.batch.table import PHOTO, PhotoFaces, results_table
from graph.client.client import FaceGraph
from graph.schemas import EmbeddedFace, EmbedResponse

# The field that the graph's errors name a photo by.
_FIELD = "image"
# Errors that concern a single photo are recorded, and the next run tries the photo again. Any other
# error aborts the run.
_RECORDED_ERRORS = (*PHOTO_ERRORS, DeadlineExceeded, OSError)


@dataclass(frozen=True)
class EmbeddingJob:
    """A folder of photos, the recognizers that embed their faces, and which faces.

    recognizers: numbers in an embedding, by name.
    """

    folder: Path
    recognizers: Mapping[str, int]
    faces: FaceChoice

    def path_of(self, photo: str) -> Path:
        """The path of a photo of the column `photo`."""
        return self.folder / path_of(photo)


class ModelEmbedder:
    """A Ray Data actor that runs the config's models in its own process, without a graph."""

    def __init__(self, job: EmbeddingJob, config: GraphConfig) -> None:
        self._job = job
        self._limits = config.image_limits
        self._detector = detector_from(config.detector)
        self._detector.require_landmarks()
        self._recognizers = [
            recognizer_from(config.recognizers[name], name=name) for name in job.recognizers
        ]

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Embed the photos of the column `photo`; returns rows of `results_schema`."""
        found: list[PhotoFaces] = []
        chips: list[Mapping[Chip, ByteArray]] = []
        for photo in batch[PHOTO].to_pylist():
            try:
                image = self._read(photo)
                detections = choose(self._detector.detect(image.pixels), self._job.faces)
                image.require_shown(detections.boxes, field=_FIELD)
            except _RECORDED_ERRORS as error:
                found.append(PhotoFaces(photo, problem=_message(error)))
                continue
            found.append(PhotoFaces(photo, image.width, image.height, detections))
            kinds = {model.model.chip for model in self._recognizers}
            chips.append({chip: align(image.pixels, detections.landmarks, chip) for chip in kinds})
        return results_table(self._embedded(found, chips), self._job.recognizers)

    def _read(self, photo: str) -> DecodedImage:
        content = self._job.path_of(photo).read_bytes()
        return read_image(Photo(_FIELD, content), self._limits, needed_side=lambda longer: longer)

    def _embedded(
        self, found: Sequence[PhotoFaces], chips: Sequence[Mapping[Chip, ByteArray]]
    ) -> list[PhotoFaces]:
        """Add embeddings to the photos.

        chips: uint8 [N,size,size,3] BGR of each photo that has no problem, in the photos' order.
        """
        if not chips:
            return list(found)
        models = self._recognizers
        by_model = [model.embed_many([one[model.model.chip] for one in chips]) for model in models]
        answers = zip(*by_model, strict=True)
        return [
            photo if photo.problem else replace(photo, embeddings=next(answers)) for photo in found
        ]


class GraphEmbedder:
    """Embeds photos by a running graph; several threads may share it."""

    def __init__(self, job: EmbeddingJob, graph: FaceGraph) -> None:
        self._job = job
        self._graph = graph

    def __call__(self, photo: str) -> pa.Table:
        return results_table([self._faces(photo)], self._job.recognizers)

    def _faces(self, photo: str) -> PhotoFaces:
        names = list(self._job.recognizers)
        try:
            answer = self._graph.embed(
                self._job.path_of(photo), recognizers=names, faces=self._job.faces
            )
        except FaceNotFound:
            return PhotoFaces(photo)
        except _RECORDED_ERRORS as error:
            return PhotoFaces(photo, problem=_message(error))
        return answered_faces(photo, answer, names)


def answered_faces(photo: str, answer: EmbedResponse, recognizers: Sequence[str]) -> PhotoFaces:
    """The faces of the graph's answer for a photo, as arrays."""
    detections = Detections(
        np.array([face.box for face in answer.faces], np.float32),
        np.array([face.score for face in answer.faces], np.float32),
        np.array([face.landmarks for face in answer.faces], np.float32),
    )
    embeddings = [_embeddings(answer.faces, name) for name in recognizers]
    size = answer.image
    measured = [face.quality for face in answer.faces if face.quality is not None]
    quality = np.array(measured, np.float32) if measured else None
    reasons = [face.reasons for face in answer.faces]
    return PhotoFaces(photo, size.width, size.height, detections, embeddings, quality, reasons)


def _embeddings(faces: Sequence[EmbeddedFace], recognizer: str) -> Embeddings:
    found = [face.embeddings[recognizer] for face in faces]
    uncertain = [part.uncertainty for part in found if part.uncertainty is not None]
    return Embeddings(
        np.array([part.embedding for part in found], np.float32),
        np.array(uncertain, np.float32) if uncertain else None,
        recognizer,
        version=found[0].version if found else None,
    )


def _message(error: Exception) -> str:
    if isinstance(error, FaceGraphError):
        return error.message.removeprefix(f"{_FIELD}: ")
    return str(getattr(error, "strerror", None) or error)
