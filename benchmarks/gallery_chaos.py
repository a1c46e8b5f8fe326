"""Enrolments while processes are killed: python -m benchmarks.gallery_chaos

`facegraph serve` with galleries runs as a command, and calls each stage once
(`retries.attempts: 1`). Clients enrol over HTTP: parts of an export, of 500 made-up persons each,
and single photos, each a person of its own. Most parts are sent once only, whatever comes of them,
as soon as the gallery answers a question. Every other request that is not answered with 200 is sent
again until it is. Meanwhile replicas, the embedded PostgreSQL server and the raylet are killed with
SIGKILL, at random.

At the end the gallery is exported. `lost` counts faces that were acknowledged and are not there,
bit by bit for those of a part; `twice` faces or persons that are there more than once. `unanswered`
are the parts that were sent once without a 200: those of which nothing is there are `absent`, those
of which all is there `present`, and the others `half`.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import pybase64
import yaml

from benchmarks.harness.results import draw_bars, report
from benchmarks.supervision import Command, command
from graph.bundled import bundled_photo
from graph.cluster.serve_file import read_serve_file
from tests.support.processes import descendant
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
LONGEST_AWAY_S = 120.0
# What is killed: a name, the word in the process's title, and how often it is chosen.
KILLED = {
    "Gallery replica": ("ServeReplica:facegraph:Gallery", 3),
    "ingress replica": ("ServeReplica:facegraph:Ingress", 2),
    "recognizer replica": ("ServeReplica:facegraph:Recognizer", 1),
    "PostgreSQL": ("bin/postgres", 3),
    "raylet": ("/raylet", 1),
}
SECONDS_BETWEEN = (4.0, 12.0)
COLUMNS = (
    "faces acknowledged", "lost", "twice", "unanswered", "absent", "present", "half", "sent",
    "failed", "kills", "seconds",
)  # fmt: skip


@dataclass
class Written:
    """What the clients know. once: the answer's status of each part that was sent once."""

    faces: dict[str, str] = field(default_factory=dict)  # by face's or photo's person
    once: dict[int, str] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
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
            with self._written.lock:
                self._written.statuses[status] += 1
            if status == "200" or once:
                return status
            if time.monotonic() > self._until:
                raise RuntimeError(f"{path}: no answer; the last try ended with {status}")
            time.sleep(PAUSE_S)

    def _tried(self, method: str, path: str, content: Mapping[str, Any]) -> str:
        """The answer's status, or the connection's error. Raises RuntimeError if another try would
        fail too."""
        try:
            answer = self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            return type(error).__name__
        is_final = 400 <= answer.status_code < 500 and "error" in answer.text
        if is_final or '"outcome":"refused"' in answer.text:
            raise RuntimeError(f"{path} answered {answer.status_code}: {answer.text}")
        return str(answer.status_code)


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


class Killer(threading.Thread):
    """Kills a process at random every few seconds, until it is ended."""

    def __init__(self, served: Command, seed: int) -> None:
        super().__init__()
        self._served = served
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self.kills: Counter[str] = Counter()

    def run(self) -> None:
        while not self._ended.wait(self._random.uniform(*SECONDS_BETWEEN)):
            names, weights = list(KILLED), [often for _, often in KILLED.values()]
            (name,) = self._random.choices(names, weights)
            self._kill(name)

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _kill(self, name: str) -> None:
        word, _ = KILLED[name]
        # The process may not be there: an earlier kill's successor is still to start.
        with suppress(LookupError, ValueError, OSError):
            os.kill(descendant(self._served.pid, word), signal.SIGKILL)
            self.kills[name] += 1
            print(f"killed: {name}", flush=True)
        if name == "raylet":  # the command starts another cluster
            until = time.monotonic() + LONGEST_AWAY_S
            while not self._served.is_whole() and time.monotonic() < until:
                self._ended.wait(1)


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
    parser.add_argument("--seconds", type=float, default=240, help="after which none is begun")
    parser.add_argument("--pause", type=float, default=0.1, help="s after a client's write")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    written = Written()
    with TemporaryDirectory() as name:
        folder = Path(name)
        with command(config(folder), folder / "log") as served:
            served.wait_ready()
            photo = bundled_photo("yaoming.jpg").read_bytes()
            header = begin(served.url, photo, written)
            killer = Killer(served, options.seed)
            began = time.monotonic()
            killer.start()
            try:
                write_all(served.url, header, photo, written, options)
            finally:
                killer.end()
            seconds = time.monotonic() - began
            wait_until(lambda: is_ready(served.url))
            found = list(stored(served.url))
    counts = judge(written, found)
    sent = written.statuses.total()
    failed = sent - written.statuses["200"]
    kills = killer.kills
    judged = (counts[name] for name in COLUMNS[1:7])
    row = (len(written.faces), *judged, sent, failed, kills.total(), round(seconds))
    report(
        "gallery_chaos",
        "Enrolments while replicas, the embedded database and the raylet are killed",
        COLUMNS,
        [row],
        draw=lambda axes: draw_bars(axes, list(kills.items()), "kills"),
        raw={
            "counts": counts,
            "kills": kills,
            "statuses": written.statuses,
            "statuses of parts sent once": Counter(written.once.values()),
        },
    )


if __name__ == "__main__":
    main()
