from pathlib import Path

import cv2
import numpy as np

from configs.limits import ImageLimits
from deployments.images.template import TEMPLATE
from graph.evaluation.verification_report import chip_of
from graph.schemas import Face


def test_a_photo_that_only_larger_limits_allow_is_on_the_contact_sheet(tmp_path: Path) -> None:
    path = tmp_path / "large.bmp"
    cv2.imwrite(str(path), np.full((2000, 2200, 3), 70, np.uint8))
    assert path.stat().st_size > ImageLimits().max_bytes
    face = Face(box=(0, 0, 112, 112), score=0.9, landmarks=TEMPLATE.tolist())
    assert (chip_of(path, face) == 70).all()
