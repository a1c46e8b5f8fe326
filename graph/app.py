"""The composition of the graph: its deployments, and the ingress's handles to them."""

# Serve validates `args` only while this annotation is a class, so this module has no
# `from __future__ import annotations`.

from collections.abc import Callable
from functools import partial
from typing import Any

from ray.serve import Application

from configs.extras import install_command
from configs.graph import GraphConfig
from deployments.aggregator.deployment import AggregatorDeployment
from deployments.aggregator.groups import compare_group
from deployments.aligner.deployment import AlignerDeployment
from deployments.aligner.groups import align_group
from deployments.classifier.deployment import ClassifierDeployment
from deployments.detector.deployment import DetectorDeployment
from deployments.errors import InvalidConfig
from deployments.recognizer.deployment import RecognizerDeployment
from graph.http.ingress import Ingress
from graph.pipeline.routing import router


def build_app(args: GraphConfig) -> Application:
    """Build the application; a Serve file names it by `import_path: graph.app:build_app`."""
    routing = router(hedge_after_s=args.retries.hedge_after_s)

    def routed(stage: Any, **options: Any) -> Any:
        return stage.options(request_router_config=routing, **options)

    chips = args.further_chips
    align, compare = None, None
    if args.calls.in_process_stages:
        align, compare = partial(align_group, chips), partial(compare_group, args.aggregator)
    detector = routed(DetectorDeployment).bind(args.detector, args.image_limits, chips, align)
    aligner = routed(AlignerDeployment).bind(args.aligner, chips)
    recognizers = {
        name: routed(RecognizerDeployment, name=f"Recognizer:{name}").bind(name, pool, compare)
        for name, pool in args.recognizers.items()
    }
    classifiers = {
        name: routed(ClassifierDeployment, name=f"Classifier:{name}").bind(name, pool)
        for name, pool in args.classifiers.items()
    }
    aggregator = routed(AggregatorDeployment).bind(args.aggregator)
    stages = (detector, aligner, recognizers, classifiers, aggregator)
    if args.gallery.enabled:
        return Ingress.bind(args, *stages, _gallery(args, routed))
    return Ingress.bind(args, *stages)


def _gallery(args: GraphConfig, routed: Callable[..., Any]) -> Any:
    # The database's client comes with an extra, and no other graph needs it.
    try:
        from deployments.gallery.deployment import GalleryDeployment
    except ImportError as error:
        raise InvalidConfig(
            f"gallery.enabled needs {error.name}: {install_command('gallery')}"
        ) from error

    return routed(GalleryDeployment).bind(args.gallery)
