import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from configs.catalogue import Chip
from deployments.contracts import ByteArray, FloatArray
from deployments.images.alignment import align, on_arcface_chips
from deployments.images.template import TEMPLATE, similarity_transforms, template_of

Doubles = NDArray[np.float64]

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)]
LANDMARKS = arrays(np.float32, (5, 2), elements=st.floats(-2000, 4000, width=32))


def umeyama(points: Doubles, target: Doubles) -> Doubles:
    """The transform by IEEE TPAMI 13(4), 1991, equations 40 to 43, as printed: with an SVD."""
    centre, target_centre = points.mean(axis=0), target.mean(axis=0)
    centred, target_centred = points - centre, target - target_centre
    covariance = target_centred.T @ centred / len(points)
    u, singular, vt = np.linalg.svd(covariance)
    signs = np.asarray([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * signs) @ vt
    scale = (singular * signs).sum() / (centred**2).sum(axis=1).mean()
    linear = scale * rotation
    return np.column_stack([linear, target_centre - linear @ centre])


def applied(transform: FloatArray | Doubles, points: FloatArray) -> Doubles:
    moved: Doubles = points.astype(np.float64) @ transform[:, :2].T + transform[:, 2]
    return moved


def posed(degrees: float, scale: float, shift: tuple[float, float]) -> FloatArray:
    """The template's points turned, scaled and then shifted: float32 [5,2]."""
    angle = np.radians(degrees)
    turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points: FloatArray = (scale * TEMPLATE @ turn.T + shift).astype(np.float32)
    return points


@given(LANDMARKS)
def test_the_transform_is_umeyamas(landmarks: FloatArray) -> None:
    extent = np.ptp(landmarks, axis=0).max()
    assume(extent > 1)
    expected = umeyama(landmarks.astype(np.float64), TEMPLATE.astype(np.float64))
    # If all rotations fit equally well, the printed form may give any of them.
    assume(np.hypot(*expected[:, 0]) * extent > 1e-2)
    [transform] = similarity_transforms(landmarks[None])
    assert transform.dtype == np.float32
    difference = applied(transform, landmarks) - applied(expected, landmarks)
    assert np.abs(difference).max() < 0.01


@given(
    degrees=st.floats(-180, 180),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000)),
)
def test_a_turned_scaled_and_shifted_template_is_brought_back_exactly(
    degrees: float, scale: float, shift: tuple[float, float]
) -> None:
    landmarks = posed(degrees, scale, shift)
    [transform] = similarity_transforms(landmarks[None])
    angle = np.radians(-degrees)
    back = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    # float32 landmarks of up to 4000 are exact to 2e-4 pixels of the photo; at the smallest scale a
    # pixel there is 20 in the template.
    np.testing.assert_allclose(transform[:, :2], back, atol=1e-3 / scale)
    np.testing.assert_allclose(applied(transform, landmarks), TEMPLATE, atol=2e-2)


def test_each_face_has_its_own_transform_in_order() -> None:
    faces = np.stack([posed(10, 2, (5, 6)), posed(-40, 0.5, (90, 3)), TEMPLATE])
    together = similarity_transforms(faces)
    for face, transform in zip(faces, together, strict=True):
        np.testing.assert_allclose(transform, similarity_transforms(face[None])[0], atol=1e-5)
    np.testing.assert_allclose(together[2], [[1, 0, 0], [0, 1, 0]], atol=1e-5)


def test_no_faces_give_no_transforms_and_no_chips() -> None:
    none = np.zeros((0, 5, 2), np.float32)
    assert similarity_transforms(none).shape == (0, 2, 3)
    assert align(np.zeros((40, 50, 3), np.uint8), none).shape == (0, 112, 112, 3)


@given(st.floats(-3000, 3000, width=32), st.floats(-3000, 3000, width=32))
def test_points_that_coincide_give_no_scale_and_the_templates_centre(x: float, y: float) -> None:
    coincident = np.full((1, 5, 2), (x, y), np.float32)
    [transform] = similarity_transforms(coincident)
    assert np.isfinite(transform).all()
    np.testing.assert_allclose(transform[:, 2], TEMPLATE.mean(axis=0), atol=1e-3)
    assert align(np.full((9, 9, 3), 7, np.uint8), coincident).shape == (1, 112, 112, 3)


def marked(landmarks: FloatArray, radius: float) -> ByteArray:
    """A grey photo of 500 x 600 pixels with a disc of its own colour on each landmark."""
    photo = np.full((500, 600, 3), 90, np.uint8)
    for (x, y), colour in zip(landmarks, COLOURS, strict=True):
        centre = (round(float(x) * 16), round(float(y) * 16))
        cv2.circle(photo, centre, round(radius * 16), colour, cv2.FILLED, cv2.LINE_AA, shift=4)
    return photo


def centre_of(colour: tuple[int, int, int], chip: ByteArray) -> Doubles:
    distance = np.abs(chip.astype(int) - colour).sum(axis=2)
    rows, columns = np.nonzero(distance < 60)
    return np.asarray([columns.mean(), rows.mean()])


@pytest.mark.parametrize(
    ("degrees", "scale", "shift"),
    [
        (0, 1, (0, 0)),
        (0, 3, (120, 60)),
        (30, 2.5, (250, 40)),
        (-90, 2, (150, 300)),
        (180, 1.5, (400, 300)),
    ],
)
def test_the_landmarks_of_a_face_lie_at_the_templates_places_on_its_chip(
    degrees: float, scale: float, shift: tuple[float, float]
) -> None:
    landmarks = posed(degrees, scale, shift)
    [chip] = align(marked(landmarks, 5 * scale), landmarks[None])
    assert (chip.dtype, chip.shape) == (np.uint8, (112, 112, 3))
    for colour, place in zip(COLOURS, TEMPLATE, strict=True):
        assert np.abs(centre_of(colour, chip) - place).max() < 1


def test_chips_come_in_the_order_of_the_faces() -> None:
    photo = np.full((112, 400, 3), 40, np.uint8)
    photo[:, 200:] = 220
    faces = np.stack([posed(0, 1, (250, 0)), posed(0, 1, (20, 0))])
    assert [int(chip.mean()) for chip in align(photo, faces)] == [220, 40]


def test_what_lies_outside_of_the_photo_is_black() -> None:
    photo = np.full((112, 112, 3), 200, np.uint8)
    [chip] = align(photo, posed(0, 1, (56, 0))[None])
    assert (chip[:, :55] == 200).all()
    assert (chip[:, 57:] == 0).all()


def test_a_read_only_photo_is_aligned() -> None:
    photo = np.full((112, 112, 3), 200, np.uint8)
    photo.setflags(write=False)
    assert (align(photo, TEMPLATE[None]) == 200).all()


DLIB = Chip(size=150, template="dlib", margin=0.25)


def test_dlibs_template_is_laid_out_as_dlib_lays_out_its_chips() -> None:
    """A point p of a side is at (p + margin) / (1 + 2 margin): for 150 px and 0.25, 100 p + 25."""
    left_eye, _, nose, _, right_mouth = template_of(DLIB)
    np.testing.assert_allclose(left_eye, (47.5492, 46.599), atol=1e-3)
    np.testing.assert_allclose(nose, (74.0127, 76.5625), atol=1e-3)
    np.testing.assert_allclose(right_mouth, (97.6104, 103.0233), atol=1e-3)


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1), (20, 2.5), (-90, 2)])
def test_a_faces_points_lie_at_dlibs_places_on_its_chip(degrees: float, scale: float) -> None:
    turn = np.radians(degrees)
    rotation = scale * np.asarray([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    landmarks = ((template_of(DLIB) - 75) @ rotation.T + (300, 250)).astype(np.float32)
    [chip] = align(marked(landmarks, 5 * scale), landmarks[None], DLIB)
    assert chip.shape == (150, 150, 3)
    for colour, place in zip(COLOURS, template_of(DLIB), strict=True):
        assert np.abs(centre_of(colour, chip) - place).max() < 1


def test_another_chip_is_moved_onto_arcfaces_where_it_shows_it() -> None:
    """A chip that is ArcFace's, doubled, is halved again."""
    doubled = Chip(size=224)
    pixels = cv2.GaussianBlur(
        np.random.RandomState(0).randint(0, 256, (224, 224, 3)).astype(float), (0, 0), 9
    )
    chips = np.stack([pixels.astype(np.uint8)])
    [moved] = on_arcface_chips(chips, doubled)
    assert moved.shape == (112, 112, 3)
    assert np.abs(moved[:-1, :-1].astype(int) - pixels[:-2:2, :-2:2]).max() <= 1
    assert on_arcface_chips(chips[:0], doubled).shape == (0, 112, 112, 3)
