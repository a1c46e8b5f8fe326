"""The whole graph on one page: every deployment, and who holds a handle to whom."""

# Serve validates `args` only while this annotation is a class, so this module has no
# `from __future__ import annotations`.

from ray.serve import Application

from configs.graph import GraphConfig
from deployments.aggregator.deployment import AggregatorDeployment
from deployments.aligner.deployment import AlignerDeployment
from deployments.detector.deployment import DetectorDeployment
from deployments.recognizer.deployment import RecognizerDeployment
from graph.ingress import Ingress


def build_app(args: GraphConfig) -> Application:
    """The application that `import_path: graph.app:build_app` names in a serve config."""
    detector = DetectorDeployment.bind(args.detector, args.image_limits)
    aligner = AlignerDeployment.bind(args.aligner)
    recognizers = {
        name: RecognizerDeployment.options(name=f"Recognizer:{name}").bind(name, pool)
        for name, pool in args.recognizers.items()
    }
    aggregator = AggregatorDeployment.bind(args.aggregator)
    return Ingress.bind(args, detector, aligner, recognizers, aggregator)
