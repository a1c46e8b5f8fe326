"""Families of detectors: how a network takes a photo, and how its outputs become rows.

A further family is a file with a class like `RetinaFaceFamily`, and its name in
`configs.catalogue.DetectorFamily` and `load_family`.
"""

from typing import Protocol

from configs.catalogue import Model
from configs.detector import DetectorConfig
from deployments.contracts import ByteArray, FaceChoice
from deployments.detector.postprocess import Rows
from deployments.detector.preprocess import NetworkInput
from deployments.detector.retinaface import RetinaFaceFamily
from deployments.detector.scrfd import ScrfdFamily
from deployments.detector.yunet import YunetFamily
from deployments.images.decode import DecodedImage
from deployments.inference.backend import Backend, Network


class Family(Protocol):
    """The decoder of a detector's outputs."""

    @property
    def network(self) -> Network:
        """The network, as the runtimes see it."""

    @property
    def landmarks(self) -> bool:
        """False for a network that finds boxes only: all landmarks are NaN."""

    def first_input(self, image: DecodedImage, side: int) -> NetworkInput:
        """The first look at a photo whose longer side is to have `side` pixels there."""

    def rows(
        self, backend: Backend, pixels: ByteArray, faces: FaceChoice, least_px: float
    ) -> list[Rows]:
        """The best rows of each image uint8 [B,h,w,3] BGR, in pixels of it.

        faces: those that are wanted. least_px: side of the smallest face that matters.
        """


def load_family(model: Model, config: DetectorConfig) -> Family:
    """The family of the model's name; SCRFD's and YuNet's read the layout of the weights' file.

    Raises ModelUnavailable without that file, InvalidWeights if it is of another family.
    """
    if model.family == "scrfd":
        return ScrfdFamily.of_file(model, config)
    if model.family == "yunet":
        return YunetFamily.of_file(model, config)
    return RetinaFaceFamily(config)
