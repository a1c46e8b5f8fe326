"""ModelScope's `pipeline` function, answered by a running graph.

The published examples of the catalogue's models run unchanged except for their imports:

    from graph.modelscope import OutputKeys, Tasks, pipeline

    recognize = pipeline(Tasks.face_recognition, 'damo/cv_ir50_face-recognition_arcface')
    embedding = recognize('photo.jpg')[OutputKeys.IMG_EMBEDDING]
"""

import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import httpx
import numpy as np

from configs.catalogue import CATALOGUE
from configs.limits import ImageLimits
from deployments.errors import (
    DeadlineExceeded,
    FaceNotFound,
    ImageTooLarge,
    InvalidImage,
    InvalidRequest,
    ModelUnavailable,
)
from graph.client.client import FaceGraph
from graph.client.images import ImageLike
from graph.schemas import DetectResponse, EmbedResponse, ServedModel

# An http(s) URL of an image file, or anything that `FaceGraph` takes.
Input: TypeAlias = ImageLike
Result = dict[str, Any]

FETCH_TIMEOUT_S = 30.0
# Most requests in progress at a time for a list of images.
_MAX_CONCURRENT = 8
# ModelScope moved its models from damo to iic; both names are in use.
_OWNERS = ("damo/", "iic/")


class Tasks:
    """ModelScope's names of the graph's tasks."""

    face_detection = "face-detection"
    face_recognition = "face-recognition"


class OutputKeys:
    """ModelScope's keys of the results."""

    SCORES = "scores"
    BOXES = "boxes"
    KEYPOINTS = "keypoints"
    IMG_EMBEDDING = "img_embedding"


_TASK_OF = {"detector": Tasks.face_detection, "recognizer": Tasks.face_recognition}


@dataclass(frozen=True)
class FacePipeline:
    """One of the graph's models, called as ModelScope's pipelines are.

    A list of images gives the list of their results, in order. Raises InvalidImage, ImageTooLarge,
    UnsupportedMediaType, DeadlineExceeded, ModelUnavailable, or FileNotFoundError for a missing
    file.
    """

    graph: FaceGraph
    served: ServedModel

    @overload
    def __call__(self, image: Input) -> Result: ...

    @overload
    def __call__(self, image: list[Any]) -> list[Result]: ...

    def __call__(self, image: Input | list[Any]) -> Result | list[Result]:
        if not isinstance(image, list):
            return self._answer(image)
        with ThreadPoolExecutor(_MAX_CONCURRENT) as threads:
            return list(threads.map(self._answer, image))

    def _answer(self, image: Input) -> Result:
        loaded = load_image(image)
        if self.served.pool is None:
            return detection_result(self.graph.detect(loaded))
        try:
            answer = self.graph.embed(loaded, recognizers=[self.served.pool])
        except FaceNotFound:
            return no_face_result(self.served)
        return recognition_result(answer, pool=self.served.pool)


def pipeline(
    task: str,
    model: str,
    *,
    graph: FaceGraph | None = None,
    model_revision: str | None = None,
    device: str | None = None,
) -> FacePipeline:
    """Return a pipeline of the graph's detector, or of the recognizer pool that serves `model`.

    model: a ModelScope id, or an id of FaceGraph's catalogue.
    graph: by default the one that `FaceGraph.connect()` finds.
    model_revision, device: accepted because examples pass them, but ignored: the graph's
    configuration decides both.

    Warns if `model` is a ModelScope id and the detector does not have `preset: published`. Raises
    InvalidRequest for an unknown task or model and for a task that does not fit the model,
    ModelUnavailable for a model that this graph does not serve; each lists what the graph serves.
    """
    graph = graph or FaceGraph.connect()
    served = graph.models().models
    if model.startswith(_OWNERS) and not finds_faces_as_published(served):
        warnings.warn(
            "the graph's detector does not have `preset: published`, so that faces may differ from"
            " those that ModelScope finds",
            stacklevel=2,
        )
    return FacePipeline(graph, find_served(served, task=task, model=model))


def finds_faces_as_published(served: Sequence[ServedModel]) -> bool:
    """True if the detector has the published sizes and thresholds."""
    return any(entry.stage == "detector" and entry.preset == "published" for entry in served)


def find_served(served: Sequence[ServedModel], *, task: str, model: str) -> ServedModel:
    """Return the entry of `model`, which must fit `task`; an available one if there are several.

    Raises `pipeline`'s errors.
    """
    serves = f"this graph serves {_listed(served)}"
    if task not in _TASK_OF.values():
        expected = " or ".join(_TASK_OF.values())
        raise InvalidRequest(f"task: expected {expected}, got {task!r}; {serves}", field="task")
    entries = [entry for entry in served if _is_named(entry.model, entry.modelscope, model)]
    if not entries:
        if any(_is_named(known.id, known.modelscope, model) for known in CATALOGUE.values()):
            raise ModelUnavailable(f"model: {model} is not served; {serves}", field="model")
        raise InvalidRequest(f"model: FaceGraph knows no {model!r}; {serves}", field="model")
    best = max(entries, key=lambda entry: entry.available)
    fits = _TASK_OF[best.stage]
    if task != fits:
        raise InvalidRequest(f"task: {model} is for {fits}, not {task}; {serves}", field="task")
    return best


def recognition_result(answer: EmbedResponse, *, pool: str) -> Result:
    """The photo's first face as ModelScope's result.

    `img_embedding`: float32 [1,512], L2 norm 1. `scores`: [[uncertainty]], only of a recognizer
    with uncertainties.
    """
    found = answer.faces[0].embeddings[pool]
    result: Result = {OutputKeys.IMG_EMBEDDING: np.asarray([found.embedding], np.float32)}
    if found.uncertainty is not None:
        result[OutputKeys.SCORES] = [[found.uncertainty]]
    return result


def no_face_result(served: ServedModel) -> Result:
    """A recognizer's result without a face: the keys of `recognition_result`, with None."""
    result: Result = {OutputKeys.IMG_EMBEDDING: None}
    model = CATALOGUE.get(served.model or "")
    if model and model.gives_uncertainty:
        result[OutputKeys.SCORES] = None
    return result


def detection_result(answer: DetectResponse) -> Result:
    """All faces as ModelScope's result, by descending score; three empty lists without a face.

    `scores`: numbers. `boxes`: [[x1,y1,x2,y2]], `keypoints`: [[x,y of each of the 5 landmarks]], in
    pixels of the photo.
    """
    return {
        OutputKeys.SCORES: [face.score for face in answer.faces],
        OutputKeys.BOXES: [list(face.box) for face in answer.faces],
        OutputKeys.KEYPOINTS: [
            [value for point in face.landmarks for value in point] for face in answer.faces
        ],
    }


def load_image(image: Input) -> Input:
    """Return the image itself, or the file at an http(s) URL. Raises `fetch_image`'s errors."""
    if isinstance(image, str) and image.lower().startswith(("http://", "https://")):
        return fetch_image(image)
    return image


def fetch_image(
    url: str, *, max_bytes: int = ImageLimits().max_bytes, timeout_s: float = FETCH_TIMEOUT_S
) -> bytes:
    """Return the file at a URL, after redirects.

    Raises ImageTooLarge as soon as more than `max_bytes` have arrived, DeadlineExceeded after
    `timeout_s` seconds, InvalidImage if the URL cannot be fetched.
    """
    try:
        return _fetch(url, max_bytes, timeout_s)
    except httpx.TimeoutException as error:
        raise DeadlineExceeded(
            f"image: {url} was not here after {timeout_s} s", field="image"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InvalidImage(f"image: cannot fetch {url}: {error}", field="image") from error


def _fetch(url: str, max_bytes: int, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    content = bytearray()
    with httpx.stream("GET", url, timeout=timeout_s, follow_redirects=True) as answer:
        if not answer.is_success:
            status = f"{answer.status_code} {answer.reason_phrase}"
            raise InvalidImage(f"image: {url} answered {status}", field="image")
        for chunk in answer.iter_bytes():
            content += chunk
            if len(content) > max_bytes:
                raise ImageTooLarge(
                    f"image: {url} has more than {max_bytes} bytes",
                    field="image",
                    max_bytes=max_bytes,
                )
            if time.monotonic() > deadline:  # httpx's own timeout bounds each read alone
                raise httpx.ReadTimeout("too slow")
    return bytes(content)


def _is_named(model_id: str | None, modelscope: str | None, wanted: str) -> bool:
    if modelscope is None or not wanted.startswith(_OWNERS):
        return wanted == model_id
    return wanted.partition("/")[2] == modelscope.partition("/")[2]


def _listed(served: Sequence[ServedModel]) -> str:
    names = {
        f"{entry.modelscope or entry.model} ({_TASK_OF[entry.stage]})"
        for entry in served
        if entry.model
    }
    return ", ".join(sorted(names))
