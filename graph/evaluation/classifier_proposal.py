"""Proposes a classifier's entry for an ONNX file, by its published name or by what its owner tells.

A file of scores does not say what its labels are, nor which area of a photo in which normalisation
it was trained on, and no bundled photo shows a wrong answer: what is not known is asked for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.catalogue import Classification, Model, Preprocessing
from configs.classifier import ClassifierConfig
from deployments.classifier.classifier import classifier_from
from deployments.errors import InvalidWeights
from deployments.inference.onnx_layout import last_operator

# Silent-Face-Anti-Spoofing names its files by area and chip, as 2.7_80x80_MiniFASNetV2.
_MINIFASNET = re.compile(r"(?P<scale>\d+(\.\d+)?)(_\d+)*_\d+x\d+_MiniFASNetV[12](SE)?")
_BYTES = Preprocessing(mean=(0.0, 0.0, 0.0), scale=1.0, rgb=False)
# InsightFace's: its three numbers are two scores and an age.
_NO_SCORES = ("genderage",)


@dataclass(frozen=True)
class Told:
    """What the owner of a classifier's file tells of it.

    labels: of its outputs, in order. scale: sides of the chip's area, in sides of the face's box.
    """

    labels: tuple[str, ...] = ()
    scale: float | None = None
    preprocessing: Preprocessing | None = None


NOTHING_TOLD = Told()


def classifier_model(
    path: Path, entry: Mapping[str, object], size: int | None, count: int, told: Told
) -> Model:
    """The entry of a classifier with `count` outputs of chips of `size` x `size` pixels.

    size: None if the file's input has no fixed size. Raises InvalidWeights if something is not
    known, or if the file does not answer.
    """
    if size is None:
        raise InvalidWeights(f"{path}: a classifier's input needs a fixed size")
    if path.stem in _NO_SCORES:
        raise InvalidWeights(f"{path}: its outputs are not scores of labels")
    found = _MINIFASNET.fullmatch(path.stem) if count == 3 else None
    if found:
        entry = {**entry, **_published_minifasnet(path.stem)}
        told = Told(("spoof_0", "live", "spoof_2"), float(found["scale"]), _BYTES)
    _require(path, told, size, count)
    classification = Classification.model_validate(
        {
            "size": size,
            "scale": told.scale,
            "labels": told.labels,
            "activation": _activation(path, count),
        }
    )
    model = Model.model_validate(
        {
            **entry,
            "kind": "classifier",
            "preprocessing": told.preprocessing,
            "classification": classification,
        }
    )
    config = ClassifierConfig(own_models={model.id: model}, model=model.id, runtime="onnxruntime")
    classifier_from(config).classify(np.zeros((1, size, size, 3), np.uint8))
    return model


def _published_minifasnet(stem: str) -> dict[str, object]:
    return {
        "title": f"{stem.rpartition('_')[2]}, of Silent-Face-Anti-Spoofing",
        "licence": "Apache-2.0 (Minivision, Silent-Face-Anti-Spoofing)",
        "commercial_use": True,
    }


def _require(path: Path, told: Told, size: int, count: int) -> None:
    lacking = {
        f"--label for each of {count} outputs, in order": len(told.labels) != count,
        "--scale": told.scale is None,
        "--normalisation": told.preprocessing is None,
    }
    if missing := [option for option, is_missing in lacking.items() if is_missing]:
        raise InvalidWeights(
            f"{path}: a classifier of {size} x {size} pixels, which does not tell the rest; give"
            f" {', '.join(missing)}"
        )


def _activation(path: Path, count: int) -> str:
    """The step from the outputs to scores: none where the network itself ends with it."""
    if last_operator(path, where=str(path)) in ("Softmax", "Sigmoid"):
        return "none"
    return "softmax" if count > 1 else "sigmoid"
