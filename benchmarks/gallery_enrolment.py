"""A single enrolment beside /v1/embed: python -m benchmarks.gallery_enrolment [--rounds 200]

serve_config.yaml with galleries, on a cluster of its own. In each round one client embeds a photo
and enrols it as the first face of a new person, one after the other; the order changes from round
to round. Every round has a photo of its own: a 640-px portrait, cut a little differently. Persons
are made before their round. The gallery holds made-up faces, as in benchmarks/gallery.py, and has
the default policy, which searches it at each enrolment; its threshold is 1, so that the portraits
before are no reason to refuse one. `stage` is the time within the gallery's replica, by the
answer's `timings`. The ratio is that of an enrolment's time to the embedding's of the same round,
the median over the rounds.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import httpx
import numpy as np

from benchmarks.gallery import calls, made_up
from benchmarks.harness.load import CONFIG, MS, Request, post_of
from benchmarks.harness.results import draw_bars, paired_ratio, report
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file
from tests.support.photos import YAOMING, jpeg, photo
from tests.support.profiles import with_galleries

GALLERY = "/v1/galleries/bench"
SIDE_PX, SHIFTS = 640, 12
WARM_UP = 20
COLUMNS = (
    "faces in the gallery", "rounds", "embed p50 ms", "enrol p50 ms", "stage p50 ms", "enrol/embed",
)  # fmt: skip


@dataclass(frozen=True)
class Round:
    """Milliseconds. stage: of the enrolment, within the gallery's replica."""

    embed: float
    enrol: float
    stage: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--faces", type=int, default=10_000, help="in the gallery")
    options = parser.parse_args()
    with (
        TemporaryDirectory() as folder,
        own_graph(config(Path(folder))) as graph,
        httpx.Client(base_url=graph.url, timeout=60) as client,
    ):
        fill(client, options.faces)
        rounds = [measured(client, number) for number in range(WARM_UP + options.rounds)]
    times = {
        name: [getattr(one, name) for one in rounds[WARM_UP:]]
        for name in ("embed", "enrol", "stage")
    }
    p50s = [(name, float(np.median(found))) for name, found in times.items()]
    texts = [f"{p50:.1f}" for _, p50 in p50s]
    ratio = paired_ratio(times["enrol"], times["embed"])
    report(
        "gallery_enrolment",
        "A single enrolment beside /v1/embed, one client",
        COLUMNS,
        [(f"{options.faces:,}", options.rounds, *texts, f"{ratio:.2f}")],
        draw=lambda axes: draw_bars(axes, p50s, "ms"),
        raw=times,
    )


def config(folder: Path) -> dict[str, Any]:
    content = read_serve_file(CONFIG)
    (app,) = content["applications"]
    return content | {"applications": [with_galleries(app, data_dir=str(folder / "galleries"))]}


def fill(client: httpx.Client, faces: int) -> None:
    """Make the gallery, with a first photo, whose export begins with the model's name."""
    client.put(GALLERY, json={"threshold": 1}).raise_for_status()
    answered(client, enrolment(client, "first", variant(0)))
    header = client.get(f"{GALLERY}/export").raise_for_status().content.splitlines()[0]
    stored, _ = made_up(faces)
    for lines in calls(stored):
        done = client.post(f"{GALLERY}/import", content=header + b"\n" + lines,
            headers={"content-type": "application/x-ndjson"})  # fmt: skip
        assert not done.raise_for_status().json()["refused"]


def measured(client: httpx.Client, number: int) -> Round:
    """Embed a round's photo and enrol it."""
    picture = variant(number + 1)
    embed = post_of("/v1/embed", {"image": picture})
    enrol = enrolment(client, f"person-{number}", picture)
    if number % 2:
        (enrol_ms, answer), (embed_ms, _) = answered(client, enrol), answered(client, embed)
    else:
        (embed_ms, _), (enrol_ms, answer) = answered(client, embed), answered(client, enrol)
    [stage] = [one["duration_ms"] for one in answer["timings"] if one["stage"] == "enrol"]
    return Round(embed_ms, enrol_ms, stage)


def enrolment(client: httpx.Client, person: str, picture: bytes) -> Request:
    """The request that enrols the photo, of a person who is made here."""
    client.post(f"{GALLERY}/persons", json={"id": person}).raise_for_status()
    return post_of(f"{GALLERY}/persons/{person}/faces", {"images": picture})


def answered(client: httpx.Client, request: Request) -> tuple[float, Any]:
    """Milliseconds until the answer, and the answer. Raises RuntimeError if a photo is refused."""
    headers = {"content-type": request.content_type}
    began = time.perf_counter()
    got = client.post(request.path, content=request.body, headers=headers)
    took_ms = (time.perf_counter() - began) * MS
    answer = got.raise_for_status().json()
    if any(photo["outcome"] != "enrolled" for photo in answer.get("photos", ())):
        raise RuntimeError(f"{request.path}: {got.text}")
    return took_ms, answer


def variant(number: int) -> bytes:
    """A 640-px JPEG of the portrait without some of its first rows and columns."""
    rows, columns = divmod(number, SHIFTS)
    pixels = photo(YAOMING)[rows:, columns:]
    scale = SIDE_PX / max(pixels.shape[:2])
    return jpeg(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))


if __name__ == "__main__":
    main()
