"""The handles to the stages of the graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.serve.handle import DeploymentHandle


@dataclass(frozen=True)
class Stages:
    """A handle to each deployment of the graph."""

    detector: DeploymentHandle[Any]
    aligner: DeploymentHandle[Any]
    recognizers: Mapping[str, DeploymentHandle[Any]]
    aggregator: DeploymentHandle[Any]

    def methods(self, *, by_reference: bool) -> "Methods":
        """Their methods, whose answers travel through the object store, or as messages."""

        def edge(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
            if by_reference:
                return handle.options(_by_reference=True)
            # cloudpickle, Serve's default, takes twice the time, and nothing here needs it.
            return handle.options(
                _by_reference=False,
                request_serialization="pickle",
                response_serialization="pickle",
            )

        detector, aggregator = edge(self.detector), edge(self.aggregator)
        recognizers = {name: edge(handle) for name, handle in self.recognizers.items()}
        return Methods(
            detector.detect,
            detector.detect_many,
            edge(self.aligner).align,
            {name: handle.embed for name, handle in recognizers.items()},
            {name: handle.embed_many for name, handle in recognizers.items()},
            aggregator.compare,
            aggregator.compare_many,
        )


@dataclass(frozen=True)
class Methods:
    """What the pipeline calls. Made once, as Serve makes a handle each time that a handle is asked
    for one of its methods."""

    detect: DeploymentHandle[Any]
    detect_many: DeploymentHandle[Any]
    align: DeploymentHandle[Any]
    embed: Mapping[str, DeploymentHandle[Any]]
    embed_many: Mapping[str, DeploymentHandle[Any]]
    compare: DeploymentHandle[Any]
    compare_many: DeploymentHandle[Any]
