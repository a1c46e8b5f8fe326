"""Python client of a running graph: by handle on its Ray cluster, or over HTTP."""

from deployments.contracts import FaceChoice
from graph.client.galleries import Galleries
from graph.client.images import ImageLike, photo_from
from graph.client.transport import Call, Transport
from graph.schemas import (
    CompareOptions,
    CompareResponse,
    DetectOptions,
    DetectResponse,
    EmbedOptions,
    EmbedResponse,
    LivenessPhotos,
    ModelsResponse,
    validate,
)


class FaceGraph:
    """Client of a running graph. Each call has an `_async` twin for asyncio.

    Photos are paths, image files' bytes, open files, Pillow pictures, or arrays as OpenCV reads
    them. Boxes and landmarks of the answers are in pixels of the photo after EXIF orientation.
    Calls raise the errors of `deployments.errors` with the codes of the HTTP API, and OSError for a
    path that cannot be read. Several threads may use one client. `with` and `async with` close its
    connections at their end.

    galleries: persons and their faces, and search among them.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.galleries = Galleries(transport)

    @classmethod
    def connect(cls, app_name: str = "facegraph", *, address: str = "auto") -> "FaceGraph":
        """Connect to the application of that name on the Ray cluster at `address`.

        Joins the cluster unless this process is on it already. "auto" is the cluster of this
        process, or else the one that RAY_ADDRESS names, or else the only one on this machine.
        Raises ModelUnavailable if there is no such cluster or application, and if several clusters
        run here, whose addresses `details["addresses"]` lists.
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
        """Make a client of the application at `url`, route prefix included; sends nothing yet.

        timeout_s: seconds for sending the photos and for the answer, each, in one try. retries:
        further tries if the server is lost or answers 503. Each waits as long as the server asks
        for; a server that asks for more than 30 s is not tried again. Raises InvalidRequest
        for a URL or a number that makes no sense. Calls raise ModelUnavailable if no server can be
        reached, DeadlineExceeded if none answers in time, UnexpectedAnswer if the server at `url`
        is not FaceGraph.
        """
        from graph.client.http import HttpOptions, HttpTransport

        options = HttpOptions(timeout_s, connect_timeout_s, retries)
        return cls(HttpTransport(url, api_key, options))

    def detect(self, image: ImageLike, *, attributes: list[str] | None = None) -> DetectResponse:
        """Detect every face of a photo; a photo without a face is no error.

        attributes: names of classifier pools that judge each face. Raises UnknownClassifier,
        InvalidImage and others of `deployments.errors`.
        """
        return self._transport.send(_detect(image, attributes))

    async def detect_async(
        self, image: ImageLike, *, attributes: list[str] | None = None
    ) -> DetectResponse:
        return await self._transport.send_async(_detect(image, attributes))

    def embed(
        self,
        image: ImageLike,
        *,
        recognizers: list[str] | None = None,
        faces: FaceChoice = "largest",
        attributes: list[str] | None = None,
        liveness: bool = False,
    ) -> EmbedResponse:
        """Embed a photo's largest face, or all its faces, with each recognizer.

        recognizers: names of pools; None takes the graph's defaults. attributes: as `detect`.
        liveness: decide whether the faces are live. Raises FaceNotFound, UnknownRecognizer,
        LivenessDisabled, InvalidImage and others of `deployments.errors`.
        """
        return self._transport.send(_embed(image, recognizers, faces, attributes, liveness))

    async def embed_async(
        self,
        image: ImageLike,
        *,
        recognizers: list[str] | None = None,
        faces: FaceChoice = "largest",
        attributes: list[str] | None = None,
        liveness: bool = False,
    ) -> EmbedResponse:
        call = _embed(image, recognizers, faces, attributes, liveness)
        return await self._transport.send_async(call)

    def compare(
        self,
        source: ImageLike,
        target: ImageLike,
        *,
        recognizers: list[str] | None = None,
        threshold: float | None = None,
        faces: FaceChoice = "largest",
        source_face: int | None = None,
        liveness: bool | LivenessPhotos = False,
    ) -> CompareResponse:
        """Compare the source's largest face with the target's largest face, or with all of them.

        source_face: another face of the source, by its index in the answer of `detect`.
        threshold: cosine from which faces match; None takes each recognizer's own. liveness:
        decide whether the faces are live, of both photos or of the named one alone. Raises
        FaceNotFound, whose details name the photo, and others of `deployments.errors`.
        """
        call = _compare(source, target, recognizers, threshold, faces, source_face, liveness)
        return self._transport.send(call)

    async def compare_async(
        self,
        source: ImageLike,
        target: ImageLike,
        *,
        recognizers: list[str] | None = None,
        threshold: float | None = None,
        faces: FaceChoice = "largest",
        source_face: int | None = None,
        liveness: bool | LivenessPhotos = False,
    ) -> CompareResponse:
        call = _compare(source, target, recognizers, threshold, faces, source_face, liveness)
        return await self._transport.send_async(call)

    def models(self) -> ModelsResponse:
        """List the models that the graph serves now."""
        return self._transport.send(Call("models", ModelsResponse))

    async def models_async(self) -> ModelsResponse:
        return await self._transport.send_async(Call("models", ModelsResponse))

    def close(self) -> None:
        self._transport.close()

    async def close_async(self) -> None:
        await self._transport.close_async()

    def __enter__(self) -> "FaceGraph":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> "FaceGraph":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close_async()


def _detect(image: ImageLike, attributes: list[str] | None) -> Call[DetectResponse]:
    options = validate(DetectOptions, {"attributes": attributes})
    return Call("detect", DetectResponse, (photo_from("image", image),), options)


def _embed(
    image: ImageLike,
    recognizers: list[str] | None,
    faces: FaceChoice,
    attributes: list[str] | None,
    liveness: bool,
) -> Call[EmbedResponse]:
    fields = {
        "recognizers": recognizers,
        "faces": faces,
        "attributes": attributes,
        "liveness": liveness,
    }
    options = validate(EmbedOptions, fields)
    return Call("embed", EmbedResponse, (photo_from("image", image),), options)


def _compare(
    source: ImageLike,
    target: ImageLike,
    recognizers: list[str] | None,
    threshold: float | None,
    faces: FaceChoice,
    source_face: int | None,
    liveness: bool | LivenessPhotos,
) -> Call[CompareResponse]:
    fields = {
        "recognizers": recognizers,
        "threshold": threshold,
        "faces": faces,
        "source_face": source_face,
        "liveness": liveness,
    }
    options = validate(CompareOptions, fields)
    photos = photo_from("source", source), photo_from("target", target)
    return Call("compare", CompareResponse, photos, options)
