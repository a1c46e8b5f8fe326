"""The graph from Python, by handle: no HTTP in between."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.contracts import FaceChoice, Photo
from deployments.errors import ModelUnavailable
from graph.failures import as_facegraph_error, cancel
from graph.forms import validate
from graph.schemas import (
    CompareOptions,
    CompareResponse,
    DetectResponse,
    EmbedOptions,
    EmbedResponse,
    ModelsResponse,
)

# A path, the bytes of a JPEG, PNG, WebP or BMP file, or pixels uint8 [H,W,3] BGR.
ImageLike = str | Path | bytes | npt.NDArray[np.uint8]


class FaceGraph:
    """A running graph. Each call has an `_async` twin for asyncio.

    Calls raise the errors of `deployments.errors`, as the HTTP routes answer them.
    """

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    @classmethod
    def connect(cls, app_name: str = "facegraph", *, address: str = "auto") -> "FaceGraph":
        """The application of that name on the Ray cluster at `address`.

        Joins the cluster unless this process is in one already; "auto" finds the one that
        RAY_ADDRESS names or that runs on this machine. Raises ModelUnavailable if there is no such
        cluster or application.
        """
        try:
            if not ray.is_initialized():
                ray.init(address=address, log_to_driver=False, configure_logging=False)
            return cls(serve.get_app_handle(app_name))
        except (ConnectionError, RayServeException) as error:
            raise ModelUnavailable(f"no graph {app_name!r} to connect to: {error}") from error

    def detect(self, image: ImageLike) -> DetectResponse:
        """Every face of a photo."""
        answer: DetectResponse = _result(self._send_detect(image))
        return answer

    async def detect_async(self, image: ImageLike) -> DetectResponse:
        answer: DetectResponse = await _awaited(self._send_detect(image))
        return answer

    def embed(
        self,
        image: ImageLike,
        *,
        recognizers: list[str] | None = None,
        faces: FaceChoice = "largest",
    ) -> EmbedResponse:
        """Embeddings of a photo's largest face, or of all, by each recognizer asked for."""
        answer: EmbedResponse = _result(self._send_embed(image, recognizers, faces))
        return answer

    async def embed_async(
        self,
        image: ImageLike,
        *,
        recognizers: list[str] | None = None,
        faces: FaceChoice = "largest",
    ) -> EmbedResponse:
        answer: EmbedResponse = await _awaited(self._send_embed(image, recognizers, faces))
        return answer

    def compare(
        self,
        source: ImageLike,
        target: ImageLike,
        *,
        recognizers: list[str] | None = None,
        threshold: float | None = None,
        faces: FaceChoice = "largest",
    ) -> CompareResponse:
        """The source's largest face against the target's largest face, or against all of them."""
        answer: CompareResponse = _result(
            self._send_compare(source, target, recognizers, threshold, faces)
        )
        return answer

    async def compare_async(
        self,
        source: ImageLike,
        target: ImageLike,
        *,
        recognizers: list[str] | None = None,
        threshold: float | None = None,
        faces: FaceChoice = "largest",
    ) -> CompareResponse:
        answer: CompareResponse = await _awaited(
            self._send_compare(source, target, recognizers, threshold, faces)
        )
        return answer

    def models(self) -> ModelsResponse:
        """What the graph serves now."""
        answer: ModelsResponse = _result(self._handle.models.remote())
        return answer

    async def models_async(self) -> ModelsResponse:
        answer: ModelsResponse = await _awaited(self._handle.models.remote())
        return answer

    def _send_detect(self, image: ImageLike) -> Any:
        return self._handle.detect.remote(_photo("image", image))

    def _send_embed(
        self, image: ImageLike, recognizers: list[str] | None, faces: FaceChoice
    ) -> Any:
        options = validate(EmbedOptions, {"recognizers": recognizers, "faces": faces})
        return self._handle.embed.remote(_photo("image", image), options)

    def _send_compare(
        self,
        source: ImageLike,
        target: ImageLike,
        recognizers: list[str] | None,
        threshold: float | None,
        faces: FaceChoice,
    ) -> Any:
        fields = {"recognizers": recognizers, "threshold": threshold, "faces": faces}
        options = validate(CompareOptions, fields)
        photos = _photo("source", source), _photo("target", target)
        return self._handle.compare.remote(*photos, options)


def _photo(field: str, image: ImageLike) -> Photo:
    if isinstance(image, str | Path):
        image = Path(image).read_bytes()
    return Photo(field, image)


def _result(response: Any) -> Any:
    try:
        return response.result()
    except Exception as error:
        raise (as_facegraph_error(error) or error) from None


async def _awaited(response: Any) -> Any:
    try:
        return await response
    except asyncio.CancelledError:
        cancel(response)
        raise
    except Exception as error:
        raise (as_facegraph_error(error) or error) from None
