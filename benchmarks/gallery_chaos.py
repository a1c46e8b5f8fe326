"""Enrolments while processes are killed: python -m benchmarks.gallery_chaos

`facegraph serve` with galleries runs as a command, and calls each stage once
(`retries.attempts: 1`). Clients enrol over HTTP: parts of an export, of 500 made-up persons each,
and single photos, each a person of its own. Most parts are sent once only, whatever comes of them,
as soon as the gallery answers a question. Every other request that is not answered with 200 is sent
again until it is. First the embedded PostgreSQL server is kept down for some seconds (`--away`):
whatever starts of it is killed at once. Then replicas, the server and the raylet are killed with
SIGKILL, each as often as the others, in a random order.

At the end the gallery is exported. `lost` counts faces that were acknowledged and are not there,
bit by bit for those of a part; `twice` faces or persons that are there more than once. `unanswered`
are the parts that were sent once without a 200: those of which nothing is there are `absent`, those
of which all is there `present`, and the others `half`. `other` counts answers that are neither 200
nor 503: the file of results has the body of each, and the graph's log lines of that moment.
"""

import argparse
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import pybase64
import yaml

from benchmarks.harness.answers import Answer, Answers
from benchmarks.harness.killing import LONGEST_AWAY_S, Away, Killer
from benchmarks.harness.results import draw_bars, report
from benchmarks.supervision import command
from graph.bundled import bundled_photo
from graph.cluster.serve_file import read_serve_file
from tests.support.profiles import ROOT, with_galleries
from tests.support.waiting import wait_until

GALLERY = "/v1/galleries/chaos"
NDJSON = {"content-type": "application/x-ndjson"}
PERSONS_A_PART = 500
# Of so many parts, one is sent until it is answered.
SENT_AGAIN = 5
CLIENTS = 4
TIMEOUT_S = 30.0
PAUSE_S = 0.3
DATABASE = "PostgreSQL"
# What is killed, and the word in the process's title.
KILLED = {
    "Gallery replica": "ServeReplica:facegraph:Gallery",
    "ingress replica": "ServeReplica:facegraph:Ingress",
    "recognizer replica": "ServeReplica:facegraph:Recognizer",
    DATABASE: "bin/postgres",
    "raylet": "/raylet",
}
COLUMNS = (
    "faces acknowledged", "lost", "twice", "unanswered", "absent", "present", "half", "sent",
    "failed", "other", "kills", "seconds",
)  # fmt: skip


@dataclass
class Written:
    """What the clients know. once: the answer's status of each part that was sent once."""

    answers: Answers
    faces: dict[str, str] = field(default_factory=dict)  # by face's or photo's person
    once: dict[int, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Client:
    def __init__(self, url: str, written: Written, header: bytes, until: float) -> None:
        """until: time of `time.monotonic` after which a write that is not answered is an error."""
        self._until = until
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S)
        self._written = written
        self._header = header

    def part(self, number: int, *, is_sent_once: bool) -> None:
        """Import a part, of persons whose ids and embeddings come from its number."""
        faces = part_of(number)
        lines = b"".join(line_of(person, vector) for person, vector in faces.items())
        if is_sent_once:
            self._sent("GET", GALLERY)
        status = self._sent("POST", f"{GALLERY}/import", once=is_sent_once,
            content=self._header + lines, headers=NDJSON)  # fmt: skip
        with self._written.lock:
            if is_sent_once:
                self._written.once[number] = status
            if status == "200":
                self._written.faces |= faces

    def photo(self, number: int, photo: bytes) -> None:
        """Enrol a photo that no other person has: its file ends in the person's number."""
        person, content = f"photo-{number}", photo + str(number).encode()
        self._sent("POST", f"{GALLERY}/persons", json={"id": person})
        files = {"images": ("photo.jpg", content)}
        self._sent("POST", f"{GALLERY}/persons/{person}/faces", files=files)
        with self._written.lock:
            self._written.faces[person] = hashlib.sha256(content).hexdigest()

    def _sent(self, method: str, path: str, *, once: bool = False, **content: Any) -> str:
        """Send a request until it is answered with 200; once: one time only. Return the status."""
        while True:
            status = self._tried(method, path, content)
            if status == "200" or once:
                return status
            if time.monotonic() > self._until:
                raise RuntimeError(f"{path}: no answer; the last try ended with {status}")
            time.sleep(PAUSE_S)

    def _tried(self, method: str, path: str, content: Mapping[str, Any]) -> str:
        """The answer's status, or the connection's error. Raises RuntimeError if another try would
        fail too."""
        request, began = f"{method} {path}", time.time()
        try:
            answer = self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            name = type(error).__name__
            self._written.answers.add(Answer(request, began, time.time(), name))
            return name
        status, text = answer.status_code, answer.text
        self._written.answers.add(
            Answer(
                request,
                began,
                time.time(),
                str(status),
                answer.headers.get("retry-after"),
                answer.headers.get("x-request-id"),
                "" if status == 200 else text,
            )
        )
        is_final = 400 <= status < 500 and "error" in text
        if is_final or '"outcome":"refused"' in text:
            raise RuntimeError(f"{path} answered {status}: {text}")
        return str(status)


def part_of(number: int) -> dict[str, str]:
    """A part's persons, each with the base64 of the embedding of its one face."""
    vectors = np.random.default_rng(number).standard_normal((PERSONS_A_PART, 512))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {
        f"part-{number}-{index}": pybase64.b64encode(vector.astype("<f4").tobytes()).decode()
        for index, vector in enumerate(vectors)
    }


def line_of(person: str, embedding: str) -> bytes:
    face = {"id": f"{person}-face", "embedding": embedding}
    return json.dumps({"person": person, "faces": [face]}).encode() + b"\n"


def begin(url: str, photo: bytes, written: Written) -> bytes:
    """Make the gallery, with one face, and return the first line of its export."""
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as http:
        http.put(GALLERY, json={"policy": "off"}).raise_for_status()
        http.post(f"{GALLERY}/persons", json={"id": "first"}).raise_for_status()
        first = http.post(f"{GALLERY}/persons/first/faces", files={"images": ("a.jpg", photo)})
        first.raise_for_status()
        written.faces["first"] = hashlib.sha256(photo).hexdigest()
        header, *_ = http.get(f"{GALLERY}/export").content.splitlines(keepends=True)
    return header


def write_all(
    url: str, header: bytes, photo: bytes, written: Written, options: argparse.Namespace
) -> None:
    """Have the clients write everything, in a random order."""
    tasks = [("part", number) for number in range(options.parts)]
    tasks += [("photo", number) for number in range(options.photos)]
    random.Random(options.seed).shuffle(tasks)
    local, until = threading.local(), time.monotonic() + options.seconds

    def write(task: tuple[str, int]) -> None:
        if time.monotonic() > until:
            return
        if not hasattr(local, "client"):
            local.client = Client(url, written, header, until + LONGEST_AWAY_S)
        kind, number = task
        if kind == "part":
            local.client.part(number, is_sent_once=number % SENT_AGAIN != 0)
        else:
            local.client.photo(number, photo)
        time.sleep(options.pause)

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(write, tasks))


def stored(url: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each person of the gallery, with the faces."""
    with httpx.Client(base_url=url, timeout=120) as http:
        _, *lines = http.get(f"{GALLERY}/export").raise_for_status().content.splitlines()
    for line in lines:
        person = json.loads(line)
        yield person["person"], person["faces"]


def is_ready(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}{GALLERY}", timeout=TIMEOUT_S).is_success
    return False


def judge(written: Written, found: Sequence[tuple[str, list[dict[str, Any]]]]) -> dict[str, int]:
    """The counts of what is lost, there twice, and half."""
    persons = Counter(person for person, _ in found)
    faces = Counter(face["id"] for _, listed in found for face in listed)
    by_person = dict(found)

    def is_there(person: str, mark: str) -> bool:
        marks = [one["embedding"] if person.startswith("part-") else one["source"]
            for one in by_person.get(person, ())]  # fmt: skip
        return marks == [mark]

    unanswered = [number for number, status in written.once.items() if status != "200"]
    present = [{is_there(*one) for one in part_of(number).items()} for number in unanswered]
    known = set(written.faces) | {person for one in unanswered for person in part_of(one)}
    return {
        "lost": sum(not is_there(person, mark) for person, mark in written.faces.items()),
        "twice": sum(count > 1 for count in (*persons.values(), *faces.values())),
        "unanswered": len(present),
        "absent": present.count({False}),
        "present": present.count({True}),
        "half": present.count({False, True}),
        "unknown": len(set(persons) - known),
    }


def config(folder: Path) -> Path:
    """A Serve file with galleries, kept in the folder."""
    content = read_serve_file(ROOT / "serve_config.yaml")
    (app,) = content["applications"]
    app = with_galleries(app, data_dir=str(folder / "galleries"))
    app["args"] |= {"retries": {"attempts": 1}}
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump(content | {"applications": [app]}))
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, default=300, help=f"of {PERSONS_A_PART} persons each")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=240, help="of new writes and of kills")
    parser.add_argument("--pause", type=float, default=0.1, help="s after a client's write")
    parser.add_argument("--away", type=float, default=20, help="s without the database")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", default="gallery_chaos", help="name of the files of results")
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        with command(config(folder), folder / "log") as served:
            served.wait_ready()
            written = Written(Answers(lambda: Path(served.lines(r"logs in (\S+)")[-1])))
            photo = bundled_photo("yaoming.jpg").read_bytes()
            header = begin(served.url, photo, written)
            ready = partial(is_ready, served.url)
            killer = Killer(served, KILLED, ready, seconds=options.seconds, seed=options.seed)
            if options.away:
                killer.keep_down_first(DATABASE, options.away)
            began = time.monotonic()
            killer.start()
            try:
                write_all(served.url, header, photo, written, options)
            finally:
                killer.end()
            seconds = time.monotonic() - began
            wait_until(ready)
            found = list(stored(served.url))
    show(written, judge(written, found), killer, seconds, options.results)


def show(
    written: Written, counts: dict[str, int], killer: Killer, seconds: float, results: str
) -> None:
    statuses, kills = written.answers.statuses(), killer.kills
    sent, unexpected = statuses.total(), written.answers.unexpected
    judged = (counts[name] for name in COLUMNS[1:7])
    others = sent - statuses["200"], len(unexpected), kills.total(), round(seconds)
    away = killer.away and away_figures(killer.away, written.answers)
    print("the database away:", away)
    report(
        results,
        "Enrolments while replicas, the embedded database and the raylet are killed",
        COLUMNS,
        [(len(written.faces), *judged, sent, *others)],
        draw=lambda axes: draw_bars(axes, list(kills.items()), "kills"),
        raw={
            "counts": counts,
            "kills": kills,
            "statuses": statuses,
            "statuses of parts sent once": Counter(written.once.values()),
            "database away": away,
            "other answers": unexpected,
        },
    )


def away_figures(away: Away, answers: Answers) -> dict[str, Any]:
    """The answers while the database was away, and between its first answer and the next kill."""
    meanwhile = answers.between(away.began, away.ended)
    refused = [one for one in meanwhile if one.status == "503"]
    return {
        "s": round(away.ended - away.began, 1),
        "meanwhile": Counter(one.status for one in meanwhile),
        "503 without Retry-After": sum(one.retry_after is None for one in refused),
        "longest s": round(max((one.ended - one.began for one in meanwhile), default=0), 1),
        "back after s": round(away.back - away.ended, 1),
        "then": Counter(one.status for one in answers.between(away.back, away.settled)),
    }


if __name__ == "__main__":
    main()
