"""ModelScope's pipelines on the running graph, as its published examples call them."""

import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.catalogue import CATALOGUE
from deployments.contracts import ByteArray
from deployments.errors import (
    DeadlineExceeded,
    ImageTooLarge,
    InvalidImage,
    InvalidRequest,
    ModelUnavailable,
)
from graph import FaceGraph
from graph.cluster.preflight import free_port
from graph.modelscope import (
    OutputKeys,
    Tasks,
    detection_result,
    fetch_image,
    find_served,
    finds_faces_as_published,
    load_image,
    no_face_result,
    pipeline,
    recognition_result,
)
from graph.schemas import ServedModel
from tests.support.colour_images import encoded, oriented
from tests.support.photos import GDP, PLAYERS, YAOMING, photo, photo_bytes, photo_path

ARCFACE = "damo/cv_ir50_face-recognition_arcface"
RTS = "damo/cv_ir_face-recognition-ood_rts"
RETINAFACE = "damo/cv_resnet50_face-detection_retinaface"


class Photos(BaseHTTPRequestHandler):
    """A server of /yaoming.jpg, /moved, which redirects there, and /slow, a trickle."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", f"/{YAOMING}")
            self.end_headers()
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(20):
                self.wfile.write(b"drop")
                time.sleep(0.05)
        elif self.path == f"/{YAOMING}":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(photo_bytes(YAOMING))
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def photos_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Photos)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def no_face() -> ByteArray:
    return np.full((100, 100, 3), 90, np.uint8)


def serving(client: FaceGraph, *ids: str) -> list[ServedModel]:
    """`/v1/models` of a graph with these models: the running graph's entries, renamed."""
    by_stage = {entry.stage: entry for entry in client.models().models}
    models = [CATALOGUE[model_id] for model_id in ids]
    return [
        by_stage[model.kind].model_copy(update={"model": model.id, "modelscope": model.modelscope})
        for model in models
    ]


# ModelScope's published examples, with models that this graph serves.


def test_two_photos_are_compared_by_their_embeddings(client: FaceGraph, photos_url: str) -> None:
    face_recognition_func = pipeline(Tasks.face_recognition, "arcface-mbf")
    img1 = f"{photos_url}/{YAOMING}"
    img2 = str(photo_path(YAOMING))
    emb1 = face_recognition_func(img1)[OutputKeys.IMG_EMBEDDING]
    emb2 = face_recognition_func(img2)[OutputKeys.IMG_EMBEDDING]
    assert emb1.shape == emb2.shape == (1, 512)
    assert emb1.dtype == np.float32
    assert np.dot(emb1[0], emb2[0]) == pytest.approx(1, abs=1e-5)


def test_faces_are_detected_with_revision_and_device_as_examples_give_them(
    client: FaceGraph,
) -> None:
    retina_face_detection = pipeline(
        Tasks.face_detection,
        model="retinaface-mnet025",
        model_revision="v2.0.2",
        device="cpu",
        graph=client,
    )
    result = retina_face_detection(str(photo_path(GDP)))
    bboxes = np.array(result[OutputKeys.BOXES])
    kpss = np.array(result[OutputKeys.KEYPOINTS])
    scores = np.array(result[OutputKeys.SCORES])
    assert (bboxes.shape, kpss.shape, scores.shape) == ((6, 4), (6, 10), (6,))
    assert (kpss[:, 0::2] > bboxes[:, :1]).all()
    assert (kpss[:, 1::2] < bboxes[:, 3:]).all()


def test_the_embedding_is_that_of_the_graphs_largest_face(client: FaceGraph) -> None:
    recognize = pipeline(Tasks.face_recognition, "arcface-mbf", graph=client)
    embedded = client.embed(photo_path(PLAYERS)).faces[0].embeddings["arcface"].embedding
    found = recognize(photo_path(PLAYERS))[OutputKeys.IMG_EMBEDDING]
    assert np.abs(found[0] - np.asarray(embedded)).max() < 1e-5


def test_a_photo_without_a_face_has_no_embedding(client: FaceGraph) -> None:
    recognize = pipeline(Tasks.face_recognition, "arcface-mbf", graph=client)
    assert recognize(no_face()) == {"img_embedding": None}


def test_a_list_of_images_gives_their_results_in_order(client: FaceGraph) -> None:
    recognize = pipeline(Tasks.face_recognition, "arcface-mbf", graph=client)
    images = [photo_path(YAOMING), no_face(), photo(GDP), str(photo_path(YAOMING))]
    first, none, other, last = (result["img_embedding"] for result in recognize(images))
    assert none is None
    assert float(first[0] @ last[0]) == pytest.approx(1, abs=1e-5)
    assert float(first[0] @ other[0]) < 0.35
    assert recognize([]) == []


def test_an_image_of_a_list_that_cannot_be_read_is_an_error(client: FaceGraph) -> None:
    detect = pipeline(Tasks.face_detection, "retinaface-mnet025", graph=client)
    with pytest.raises(FileNotFoundError):
        detect([photo(YAOMING), "nowhere.jpg"])


# Conversion of the graph's answers to ModelScope's.


def test_a_detection_keeps_the_graphs_numbers(client: FaceGraph) -> None:
    answer = client.detect(photo_path(GDP))
    result = detection_result(answer)
    assert list(result) == ["scores", "boxes", "keypoints"]
    assert result["scores"] == [face.score for face in answer.faces]
    best = answer.faces[0]
    assert result["boxes"][0] == list(best.box)
    assert result["keypoints"][0][:2] == list(best.landmarks[0])
    assert result["keypoints"][0][8:] == list(best.landmarks[4])


def test_a_detection_without_a_face_has_empty_lists(client: FaceGraph) -> None:
    result = detection_result(client.detect(no_face()))
    assert result == {"scores": [], "boxes": [], "keypoints": []}


def test_an_embedding_comes_back_bit_by_bit(client: FaceGraph) -> None:
    answer = client.embed(photo_path(YAOMING), recognizers=["second"])
    result = recognition_result(answer, pool="second")
    assert list(result) == ["img_embedding"]
    expected = np.asarray(answer.faces[0].embeddings["second"].embedding, np.float32)
    assert (result["img_embedding"] == expected[None]).all()


def test_an_uncertainty_becomes_scores(client: FaceGraph) -> None:
    answer = client.embed(photo_path(YAOMING), recognizers=["second"])
    face = answer.faces[0]
    unsure = face.embeddings["second"].model_copy(update={"uncertainty": 0.75})
    face = face.model_copy(update={"embeddings": {"rts": unsure}})
    result = recognition_result(answer.model_copy(update={"faces": [face]}), pool="rts")
    assert result["scores"] == [[0.75]]
    assert result["img_embedding"].shape == (1, 512)


def test_no_face_has_no_scores_where_there_would_be_some(client: FaceGraph) -> None:
    rts, arcface = serving(client, "rts", "arcface-ir50")
    assert no_face_result(rts) == {"img_embedding": None, "scores": None}
    assert no_face_result(arcface) == {"img_embedding": None}


# Choice of the model.


def test_every_published_id_is_found_by_both_of_its_owners(client: FaceGraph) -> None:
    published = [model for model in CATALOGUE.values() if model.modelscope]
    served = serving(client, *(model.id for model in published))
    tasks = {"detector": Tasks.face_detection, "recognizer": Tasks.face_recognition}
    for model in published:
        name = str(model.modelscope)
        for wanted in (name, name.replace("damo/", "iic/"), model.id):
            found = find_served(served, task=tasks[model.kind], model=wanted)
            assert found.model == model.id


def test_of_two_pools_with_one_model_the_available_one_is_taken(client: FaceGraph) -> None:
    first, second = serving(client, "rts", "rts")
    lost = first.model_copy(update={"available": False, "pool": "lost"})
    for served in ([lost, second], [second, lost]):
        assert find_served(served, task=Tasks.face_recognition, model=RTS) == second


def test_a_model_that_the_graph_does_not_serve_is_named_with_those_that_it_serves(
    client: FaceGraph,
) -> None:
    serves = "this graph serves arcface-mbf (face-recognition), retinaface-mnet025 (face-detection)"
    for task, model in ((Tasks.face_recognition, ARCFACE), (Tasks.face_detection, RETINAFACE)):
        with pytest.raises(ModelUnavailable) as unserved:
            pipeline(task, model, graph=client)
        assert unserved.value.message == f"model: {model} is not served; {serves}"
    with pytest.raises(InvalidRequest) as unknown:
        pipeline(Tasks.face_recognition, "damo/cv_unheard-of", graph=client)
    assert unknown.value.message == f"model: FaceGraph knows no 'damo/cv_unheard-of'; {serves}"


def test_a_task_that_does_not_fit_is_refused(client: FaceGraph) -> None:
    with pytest.raises(InvalidRequest, match=f"{RTS} is for face-recognition, not face-detection"):
        find_served(serving(client, "rts"), task=Tasks.face_detection, model=RTS)
    with pytest.raises(InvalidRequest, match=f"task: .* serves {RETINAFACE} .face-detection."):
        find_served(serving(client, "retinaface-r50"), task="face-liveness", model=RETINAFACE)


# Inputs that ModelScope accepts.


def test_every_kind_of_input_gives_the_same_face(client: FaceGraph, photos_url: str) -> None:
    recognize = pipeline(Tasks.face_recognition, "arcface-mbf", graph=client)
    path = photo_path(YAOMING)
    turned = encoded(Image.open(path).rotate(90, expand=True), "PNG", exif=oriented(6))
    inputs = [path, str(path), f"{photos_url}/moved", photo(YAOMING), Image.open(path)]
    inputs += [io.BytesIO(turned), Image.open(io.BytesIO(turned))]
    vectors = [result["img_embedding"][0] for result in recognize(inputs)]
    assert min(float(vectors[0] @ vector) for vector in vectors) > 0.999


def test_anything_else_is_refused_by_its_type(client: FaceGraph) -> None:
    detect = pipeline(Tasks.face_detection, "retinaface-mnet025", graph=client)
    other: list[Any] = [{"image": "photo.jpg"}]
    with pytest.raises(InvalidRequest, match=r"image: expected a path, .* got dict"):
        detect(other)
    with pytest.raises(InvalidImage, match=r"expected uint8 \(H, W, 3\) BGR.*got int64"):
        detect([np.zeros((8, 8, 3), np.int64)])


def test_a_file_that_is_no_image_is_refused(client: FaceGraph, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("text")
    detect = pipeline(Tasks.face_detection, "retinaface-mnet025", graph=client)
    with pytest.raises(InvalidImage, match="not a readable"):
        detect(tmp_path / "text.jpg")


def test_a_url_is_fetched_up_to_a_size(photos_url: str) -> None:
    content = photo_bytes(YAOMING)
    url = f"{photos_url}/{YAOMING}"
    assert fetch_image(url, max_bytes=len(content)) == content
    with pytest.raises(ImageTooLarge, match=f"{url} has more than {len(content) - 1} bytes"):
        fetch_image(url, max_bytes=len(content) - 1)


def test_a_url_that_leads_nowhere_is_named_with_the_reason(photos_url: str) -> None:
    with pytest.raises(InvalidImage, match=f"image: {photos_url}/other.jpg answered 404 Not Found"):
        load_image(f"{photos_url}/other.jpg")
    nobody = f"http://127.0.0.1:{free_port()}/photo.jpg"
    with pytest.raises(InvalidImage, match=f"image: cannot fetch {nobody}: .*refused"):
        load_image(nobody)
    with pytest.raises(InvalidImage, match="image: cannot fetch"):
        load_image("http://")


def test_a_url_that_takes_too_long_is_given_up(photos_url: str) -> None:
    with pytest.raises(DeadlineExceeded, match=r"/slow was not here after 0\.2 s"):
        fetch_image(f"{photos_url}/slow", timeout_s=0.2)


def test_a_detector_that_is_not_set_as_the_published_one_is_warned_of(client: FaceGraph) -> None:
    assert not finds_faces_as_published(client.models().models)
    detector = client.models().models[0].model_copy(update={"preset": "published"})
    assert finds_faces_as_published([detector])
    with pytest.warns(UserWarning, match="preset: published"), pytest.raises(ModelUnavailable):
        pipeline(Tasks.face_detection, RETINAFACE, graph=client)
