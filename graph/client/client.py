"""The graph from Python: by handle on its own cluster, or over HTTP."""

from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from deployments.contracts import FaceChoice, Photo
from graph.client.transport import Call, Transport
from graph.schemas import (
    CompareOptions,
    CompareResponse,
    DetectResponse,
    EmbedOptions,
    EmbedResponse,
    ModelsResponse,
    validate,
)

# A path, the bytes of a JPEG, PNG, WebP or BMP file, or pixels uint8 [H,W,3] BGR.
ImageLike = str | Path | bytes | npt.NDArray[np.uint8]


class FaceGraph:
    """A running graph. Each call has an `_async` twin for asyncio.

    Calls raise the errors of `deployments.errors`, as the HTTP routes answer them. A graph may be
    used by several threads. `with` and `async with` close its connections at their end.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @classmethod
    def connect(cls, app_name: str = "facegraph", *, address: str = "auto") -> "FaceGraph":
        """The application of that name on the Ray cluster at `address`.

        Joins the cluster unless this process is in one already; "auto" finds the one that
        RAY_ADDRESS names or that runs on this machine. Raises ModelUnavailable if there is no such
        cluster or application.
        """
        from graph.client.handle import HandleTransport  # imports Ray

        return cls(HandleTransport.connect(app_name, address=address))

    @classmethod
    def over_http(
        cls,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        retries: int = 3,
    ) -> "FaceGraph":
        """The application at `url`, its route prefix included; nothing is sent yet.

        timeout_s: of one try, for the photos to be sent and the answer to come, each. retries:
        further tries where a server is lost or answers 503; they wait as long as it asks for,
        never more than 30 s. Raises InvalidRequest for a URL or a number that makes no sense.
        Calls raise ModelUnavailable where no server is reached, DeadlineExceeded where none
        answers in time, UnexpectedAnswer where the one at `url` is no FaceGraph.
        """
        from graph.client.http import HttpOptions, HttpTransport

        options = HttpOptions(timeout_s, connect_timeout_s, retries)
        return cls(HttpTransport(url, api_key, options))

    def detect(self, image: ImageLike) -> DetectResponse:
        """Every face of a photo."""
        return self._transport.send(_detect(image))

    async def detect_async(self, image: ImageLike) -> DetectResponse:
        return await self._transport.send_async(_detect(image))

    def embed(
        self,
        image: ImageLike,
        *,
        recognizers: list[str] | None = None,
        faces: FaceChoice = "largest",
    ) -> EmbedResponse:
        """Embeddings of a photo's largest face, or of all, by each recognizer asked for."""
        return self._transport.send(_embed(image, recognizers, faces))

    async def embed_async(
        self,
        image: ImageLike,
        *,
        recognizers: list[str] | None = None,
        faces: FaceChoice = "largest",
    ) -> EmbedResponse:
        return await self._transport.send_async(_embed(image, recognizers, faces))

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
        return self._transport.send(_compare(source, target, recognizers, threshold, faces))

    async def compare_async(
        self,
        source: ImageLike,
        target: ImageLike,
        *,
        recognizers: list[str] | None = None,
        threshold: float | None = None,
        faces: FaceChoice = "largest",
    ) -> CompareResponse:
        call = _compare(source, target, recognizers, threshold, faces)
        return await self._transport.send_async(call)

    def models(self) -> ModelsResponse:
        """What the graph serves now."""
        return self._transport.send(Call("models", ModelsResponse))

    async def models_async(self) -> ModelsResponse:
        return await self._transport.send_async(Call("models", ModelsResponse))

    def close(self) -> None:
        self._transport.close()

    async def close_async(self) -> None:
        await self._transport.close_async()

    def __enter__(self) -> "FaceGraph":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> "FaceGraph":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close_async()


def _detect(image: ImageLike) -> Call[DetectResponse]:
    return Call("detect", DetectResponse, (_photo("image", image),))


def _embed(
    image: ImageLike, recognizers: list[str] | None, faces: FaceChoice
) -> Call[EmbedResponse]:
    options = validate(EmbedOptions, {"recognizers": recognizers, "faces": faces})
    return Call("embed", EmbedResponse, (_photo("image", image),), options)


def _compare(
    source: ImageLike,
    target: ImageLike,
    recognizers: list[str] | None,
    threshold: float | None,
    faces: FaceChoice,
) -> Call[CompareResponse]:
    fields = {"recognizers": recognizers, "threshold": threshold, "faces": faces}
    options = validate(CompareOptions, fields)
    photos = _photo("source", source), _photo("target", target)
    return Call("compare", CompareResponse, photos, options)


def _photo(field: str, image: ImageLike) -> Photo:
    if isinstance(image, str | Path):
        image = Path(image).read_bytes()
    return Photo(field, image)
