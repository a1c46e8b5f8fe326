"""Stand-in classifiers: ONNX files of MiniFASNet's layout that judge a chip by its mean colour."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

# As Silent-Face-Anti-Spoofing's networks take their chips: bytes as they are, BGR.
PREPROCESSING = {"mean": [0, 0, 0], "scale": 1, "rgb": False}


def save_classifier(path: Path, size: int, weight: npt.ArrayLike, bias: npt.ArrayLike) -> Path:
    """Write a network of [N,3,size,size] -> [N,L]: weight [3,L] x mean of the channels + bias [L].

    The channels are those of the file's input, in its order and with its normalisation.
    """
    labels = np.shape(weight)[1]
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["output"]),
    ]
    ports = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, size, size]),
        helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", labels]),
    ]
    constants = [
        numpy_helper.from_array(np.asarray(value, np.float32), name)
        for name, value in (("weight", weight), ("bias", bias))
    ]
    graph = helper.make_graph(nodes, "colours", ports[:1], ports[1:], constants)
    opset = [helper.make_opsetid("", 11)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=6).SerializeToString()
    )
    return path


def entry(path: Path, **classification: Any) -> dict[str, Any]:
    """An entry of `models` for the file."""
    return {
        "kind": "classifier",
        "title": "stand-in",
        "weights_file": str(path),
        "preprocessing": PREPROCESSING,
        "licence": "Apache-2.0",
        "classification": classification,
    }
