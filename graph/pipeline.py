"""One request's way through the graph; HTTP and the Python client both take it.

    photos --Detector--> faces and pixels --Aligner--> chips --Recognizer--> embeddings
    source's and target's embeddings --Aggregator--> similarities and the decision

Each stage's answer goes to the next as a DeploymentResponse, always as an argument of its own: a
reference inside of an answer may be freed before the next stage has taken it. What the client is
told of the faces travels along, so that only the last answer is awaited here.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from configs.graph import GraphConfig
from deployments.contracts import (
    Comparison,
    Embeddings,
    FoundFaces,
    Photo,
    Rule,
)
from deployments.errors import FaceNotFound, UnknownRecognizer
from graph import answers
from graph.failures import as_facegraph_error, cancel
from graph.schemas import (
    CompareOptions,
    CompareResponse,
    DetectResponse,
    EmbedOptions,
    EmbedResponse,
)


@dataclass(frozen=True)
class Stages:
    """A handle to each deployment of the graph."""

    detector: DeploymentHandle[Any]
    aligner: DeploymentHandle[Any]
    recognizers: Mapping[str, DeploymentHandle[Any]]
    aggregator: DeploymentHandle[Any]

    def by_reference(self) -> "Stages":
        """The same stages, whose answers travel through the object store, not through a caller."""
        return Stages(
            self.detector.options(_by_reference=True),
            self.aligner.options(_by_reference=True),
            {name: handle.options(_by_reference=True) for name, handle in self.recognizers.items()},
            self.aggregator.options(_by_reference=True),
        )


@dataclass
class _Call:
    """One request under way: every response that it waits for, so that none is left behind."""

    started_at: float = field(default_factory=time.time)
    responses: list[DeploymentResponse[Any]] = field(default_factory=list)

    def send(self, handle: Any, *args: Any, **kwargs: Any) -> DeploymentResponse[Any]:
        response: DeploymentResponse[Any] = handle.remote(*args, **kwargs)
        self.responses.append(response)
        return response

    def cancel(self) -> None:
        for response in self.responses:
            cancel(response)


class Pipeline:
    def __init__(self, config: GraphConfig, stages: Stages) -> None:
        self._config = config
        self._stages = stages.by_reference()

    async def detect(self, photo: Photo) -> DetectResponse:
        async with self._call() as call:
            detected = call.send(self._stages.detector.detect, [photo], keep_pixels=False)
            (found,) = await detected
            return answers.detect_response(found, call.started_at)

    async def embed(self, photo: Photo, options: EmbedOptions) -> EmbedResponse:
        pools = self._pools(options.recognizers)
        async with self._call() as call:
            photos = [replace(photo, faces=options.faces)]
            embedded = self._recognize(call, photos, pools)
            parts: list[Embeddings] = [part for (part,) in await asyncio.gather(*embedded)]
            _require_face(parts[0].faces)
            return answers.embed_response(parts, call.started_at)

    async def compare(
        self, source: Photo, target: Photo, options: CompareOptions
    ) -> CompareResponse:
        pools = self._pools(options.recognizers)
        async with self._call() as call:
            photos = [replace(source, faces="largest"), replace(target, faces=options.faces)]
            embedded = self._recognize(call, photos, pools)
            rules = self._rules(pools, options.threshold)
            compared = call.send(self._stages.aggregator.compare, rules, *embedded)
            comparison: Comparison = await compared
            _require_face(comparison.source)
            _require_face(comparison.target)
            return answers.compare_response(comparison, call.started_at)

    def _recognize(
        self, call: _Call, photos: Sequence[Photo], pools: Sequence[str]
    ) -> list[DeploymentResponse[Any]]:
        """Send a request's photos on their way; nothing is awaited here.

        One call per stage takes all of them: a call costs more than a small photo's work, and a
        stage works on the photos of a call at the same time.
        """
        detected = call.send(self._stages.detector.detect, photos, keep_pixels=True)
        chips = call.send(self._stages.aligner.align, detected)
        return [call.send(self._stages.recognizers[name].embed, chips) for name in pools]

    def _pools(self, wanted: Sequence[str] | None) -> Sequence[str]:
        served = list(self._config.recognizers)
        for name in wanted or ():
            if name not in self._config.recognizers:
                raise UnknownRecognizer(
                    f"recognizers: {name!r} is not served; this graph has {', '.join(served)}",
                    field="recognizers",
                    served=served,
                )
        return wanted or self._config.chosen_by_default

    def _rules(self, pools: Sequence[str], threshold: float | None) -> dict[str, Rule]:
        configs = {name: self._config.recognizers[name] for name in pools}
        return {
            name: Rule(
                config.decision_threshold if threshold is None else threshold,
                config.max_uncertainty,
            )
            for name, config in configs.items()
        }

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[_Call]:
        """Bounds a request's time, cancels what it leaves behind, and names what went wrong."""
        call = _Call()
        try:
            with anyio.fail_after(self._config.request_limits.timeout_s):
                yield call
        except BaseException as error:
            call.cancel()
            known = as_facegraph_error(error)
            if known is None:
                raise
            raise known from error


def _require_face(faces: FoundFaces | None) -> None:
    if faces is not None and not len(faces):
        raise FaceNotFound(f"{faces.field}: no face found", field=faces.field)
