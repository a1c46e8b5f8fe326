"""Enrolment of a folder of persons by Ray Data, on the cluster of the graph."""

import pickle
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from deployments.errors import FaceGraphError
from graph.batch.enrolment import PhotoOutcome, enrol_person, files_of
from graph.batch.ray_data import blocks_of, map_blocks, on_cluster
from graph.client.client import FaceGraph

_PERSON, _PHOTOS, _DONE = "person", "photos", "done"
_MOST_PERSONS_IN_BLOCK = 16


class PersonEnroller:
    """A Ray Data actor that reads persons' photos, and sends them to the graph of its cluster."""

    def __init__(self, folder: Path, gallery: str, app_name: str) -> None:
        self._folder, self._gallery = folder, gallery
        self._graph = FaceGraph.connect(app_name)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Enrol the persons of the columns `person` and `photos`.

        Returns a row for each, whose column `done` has the pickled outcomes, or the pickled error
        that ends the run: Ray Data would log an error that is raised, and hide it in its own.
        """
        done = [self._enrolled(row[_PERSON], row[_PHOTOS]) for row in batch.to_pylist()]
        return pa.table({_DONE: [pickle.dumps(one) for one in done]})

    def _enrolled(self, person: str, photos: Sequence[str]) -> list[PhotoOutcome] | FaceGraphError:
        files = files_of(self._folder, photos)
        try:
            return list(enrol_person(self._graph, self._gallery, person, files))
        except FaceGraphError as error:
            return error


def enrol_on_ray_data(
    gallery: str,
    folder: Path,
    photos: Mapping[str, Sequence[str]],
    *,
    address: str,
    app_name: str,
    at_a_time: int,
) -> Generator[list[PhotoOutcome]]:
    """As `enrol_persons`, by actors on the Ray cluster at `address`, where the graph runs.

    photos: names in the folder, which all nodes see under the same path, by the persons' ids.
    """
    rows = pa.table({_PERSON: list(photos), _PHOTOS: list(photos.values())})
    with on_cluster(address):
        FaceGraph.connect(app_name).galleries.get(gallery)
        if not photos:
            return
        answers = map_blocks(
            blocks_of(rows, actors=at_a_time, most=_MOST_PERSONS_IN_BLOCK),
            PersonEnroller,
            {"folder": folder, "gallery": gallery, "app_name": app_name},
            actors=at_a_time,
            num_cpus=0,  # they only wait, and the graph may have taken all CPUs
        )
        for answer in answers:
            for content in answer[_DONE].to_pylist():
                done = pickle.loads(content)
                if isinstance(done, FaceGraphError):
                    raise done
                yield done
