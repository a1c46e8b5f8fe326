"""Configuration of the whole graph: the `args` of the application in serve_config.yaml."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, field_validator, model_validator

from configs.access import AccessConfig
from configs.aggregator import AggregatorConfig
from configs.aligner import AlignerConfig
from configs.calls import CallsConfig, RetryConfig
from configs.catalogue import ARCFACE_CHIP, Chip, Model, OwnModels
from configs.classifier import ClassifierConfig, LivenessConfig
from configs.detector import DetectorConfig
from configs.gallery import GalleryConfig
from configs.limits import ImageLimits, RequestLimits
from configs.recognizer import RecognizerConfig
from configs.spelling import did_you_mean

_POOL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class GraphConfig(OwnModels):
    # A wrong value may be an API key, and errors are logged.
    model_config = ConfigDict(hide_input_in_errors=True)
    renamed: ClassVar[Mapping[str, str]] = {"edges": "calls"}

    detector: DetectorConfig = Field(default_factory=DetectorConfig)
    recognizers: dict[str, RecognizerConfig] = Field(
        default_factory=lambda: {"arcface": RecognizerConfig()},
        min_length=1,
        description="One pool of replicas per entry; requests name pools by these keys.",
    )
    default_recognizers: tuple[str, ...] = Field(
        default=(),
        description="Pools of a request that names none; empty means the first pool.",
    )
    classifiers: dict[str, ClassifierConfig] = Field(
        default_factory=dict,
        description="Pools of networks that judge faces by chips with margin, one per entry;"
        " requests name them in `attributes`.",
    )
    liveness: LivenessConfig | None = Field(
        default=None,
        description="The classifiers that decide liveness; null: `liveness` in a request is an"
        " error.",
    )
    aligner: AlignerConfig = Field(default_factory=AlignerConfig)
    aggregator: AggregatorConfig = Field(default_factory=AggregatorConfig)
    calls: CallsConfig = Field(default_factory=CallsConfig)
    image_limits: ImageLimits = Field(default_factory=ImageLimits)
    request_limits: RequestLimits = Field(default_factory=RequestLimits)
    retries: RetryConfig = Field(default_factory=RetryConfig)
    access: AccessConfig = Field(default_factory=AccessConfig)
    gallery: GalleryConfig = Field(default_factory=GalleryConfig)

    @model_validator(mode="before")
    @classmethod
    def _stages_know_own_models(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not given.get("models"):
            return given
        own = OwnModels.model_validate({"models": given["models"]}).models
        stages = {"detector": _knowing(own, given.get("detector"))}
        for kind in ("recognizers", "classifiers"):
            pools = given.get(kind)
            if isinstance(pools, Mapping):
                pools = {name: _knowing(own, pool) for name, pool in pools.items()}
            stages[kind] = pools
        return {**given, **{name: stage for name, stage in stages.items() if name in given}}

    @field_validator("recognizers", "classifiers")
    @classmethod
    def _pool_names(cls, pools: dict[str, Any]) -> dict[str, Any]:
        for name in pools:
            if not _POOL_NAME.fullmatch(name):
                raise ValueError(f"pool name {name!r}: expected [a-z0-9][a-z0-9_-]*, at most 32")
        return pools

    @model_validator(mode="after")
    def _defaults_are_served(self) -> "GraphConfig":
        if len(set(self.default_recognizers)) < len(self.default_recognizers):
            raise ValueError("default_recognizers: a name is there twice")
        for name in self.default_recognizers:
            if name not in self.recognizers:
                raise ValueError(
                    f"default_recognizers: {name!r} is not among recognizers"
                    f" ({', '.join(self.recognizers)}){did_you_mean(name, self.recognizers)}"
                )
        return self

    @model_validator(mode="after")
    def _every_pool_has_a_weight(self) -> "GraphConfig":
        weights = self.aggregator.weights
        if weights and set(weights) != set(self.recognizers):
            raise ValueError(
                f"aggregator.weights: expected one for each of {', '.join(self.recognizers)}"
            )
        return self

    @model_validator(mode="after")
    def _liveness_is_judged(self) -> "GraphConfig":
        if self.liveness is None:
            return self
        for name in self.liveness.classifiers:
            if name not in self.classifiers:
                raise ValueError(
                    f"liveness.classifiers: {name!r} is not among classifiers"
                    f" ({', '.join(self.classifiers) or 'none'})"
                    f"{did_you_mean(name, self.classifiers)}"
                )
            labels, label = self.classifiers[name].classification.labels, self.liveness.label
            if label not in labels:
                raise ValueError(
                    f"liveness.label: {name} has no label {label!r}{did_you_mean(label, labels)};"
                    f" it has {', '.join(labels)}"
                )
        return self

    @property
    def chosen_by_default(self) -> tuple[str, ...]:
        return self.default_recognizers or (next(iter(self.recognizers)),)

    @property
    def further_chips(self) -> tuple[Chip, ...]:
        """The chips that pools take beside ArcFace's, each once."""
        wanted = {pool.entry.chip.key: pool.entry.chip for pool in self.recognizers.values()}
        return tuple(chip for chip in wanted.values() if chip != ARCFACE_CHIP)


def _knowing(own: Mapping[str, Model], stage: Any) -> Any:
    """A stage's section with the configuration's models."""
    return {**stage, "own_models": own} if isinstance(stage, Mapping) else stage
