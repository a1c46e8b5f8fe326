import numpy as np
import pytest

from graph.evaluation.pairs import TemplatePhoto, template_vector, template_vectors

VECTORS = {
    "frame1.jpg": np.asarray([1, 0], np.float32),
    "frame2.jpg": np.asarray([0, 1], np.float32),
    "photo.jpg": np.asarray([1, 0], np.float32),
}
TEMPLATE = [
    TemplatePhoto("frame1.jpg", "video"),
    TemplatePhoto("frame2.jpg", "video"),
    TemplatePhoto("photo.jpg", "photo"),
]


def test_frames_are_averaged_before_media_are() -> None:
    # The video gives (0.5, 0.5), the photo (1, 0): in all (1.5, 0.5), of length sqrt(2.5).
    vector = template_vector(TEMPLATE, VECTORS)
    assert vector is not None
    assert vector.tolist() == pytest.approx([1.5 / np.sqrt(2.5), 0.5 / np.sqrt(2.5)])


def test_photos_without_a_face_are_left_out_of_their_template() -> None:
    missing = [*TEMPLATE, TemplatePhoto("faceless.jpg", "another")]
    vector, expected = template_vector(missing, VECTORS), template_vector(TEMPLATE, VECTORS)
    assert vector is not None
    assert expected is not None
    assert (vector == expected).all()


def test_a_template_without_any_face_has_no_vector() -> None:
    templates = {"1": TEMPLATE, "2": [TemplatePhoto("faceless.jpg", "a")]}
    assert list(template_vectors(templates, VECTORS)) == ["1"]
