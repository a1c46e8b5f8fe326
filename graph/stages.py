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

    def with_edges(self, *, by_reference: bool) -> "Stages":
        """The same stages, whose answers travel through the object store, or as messages."""

        def edge(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
            if by_reference:
                return handle.options(_by_reference=True)
            # cloudpickle, Serve's default, takes twice the time, and nothing here needs it.
            return handle.options(
                _by_reference=False,
                request_serialization="pickle",
                response_serialization="pickle",
            )

        return Stages(
            edge(self.detector),
            edge(self.aligner),
            {name: edge(handle) for name, handle in self.recognizers.items()},
            edge(self.aggregator),
        )
