"""The whole graph on one page: every deployment, and who holds a handle to whom."""

# Serve validates `args` only while this annotation is a class, so this module has no
# `from __future__ import annotations`.

from typing import Any

from ray.serve import Application

from configs.graph import GraphConfig
from deployments.aggregator.deployment import AggregatorDeployment
from deployments.aligner.deployment import AlignerDeployment
from deployments.detector.deployment import DetectorDeployment
from deployments.recognizer.deployment import RecognizerDeployment
from graph.ingress import Ingress
from graph.routing import ROUTER


def build_app(args: GraphConfig) -> Application:
    """The application that `import_path: graph.app:build_app` names in a serve config."""
    detector = _routed(DetectorDeployment).bind(args.detector, args.image_limits)
    aligner = _routed(AlignerDeployment).bind(args.aligner)
    recognizers = {
        name: _routed(RecognizerDeployment, name=f"Recognizer:{name}").bind(name, pool)
        for name, pool in args.recognizers.items()
    }
    aggregator = _routed(AggregatorDeployment).bind(args.aggregator)
    return Ingress.bind(args, detector, aligner, recognizers, aggregator)


def _routed(stage: Any, **options: Any) -> Any:
    return stage.options(request_router_config=ROUTER, **options)
