"""`facegraph gallery enrol`: persons' photos into a gallery."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.gallery.contracts import ID
from graph.commands.gallery import GalleryName, open_galleries
from graph.commands.terminal import (
    DEFAULT_FILE,
    NO,
    ApiKey,
    AsJson,
    ConfigOption,
    Url,
    photo_bar,
    print_json,
    print_table,
    require_ray_data,
    writable_file,
)

if TYPE_CHECKING:
    from graph.batch.enrolment import PersonPhotos, PhotoOutcome

enrol_app = typer.Typer()
AtATime = Annotated[int, typer.Option(min=1, max=64, help="Persons at a time.")]
Failures = Annotated[
    Path | None,
    typer.Option(
        callback=writable_file,
        help="A CSV file that gets the photos that are not enrolled, each with its reason.",
    ),
]


@enrol_app.command()
def enrol(
    gallery: GalleryName,
    folder: Annotated[
        Path,
        typer.Argument(
            exists=True,
            file_okay=False,
            help="A folder with a folder for each person, whose name is the person's id.",
        ),
    ],
    at_a_time: AtATime = 4,
    failures: Failures = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="The Ray cluster on which the graph of --config runs, such as `auto`: its nodes,"
            " which see the folder under the same path, read and send the photos by Ray Data."
        ),
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Enrol the photos of a folder: PERSON/PHOTO.jpg, as DeepFace has it.

    The command may be stopped and run again: a photo that its person has already is not sent. What
    is not enrolled is listed with the reason: refused photos, and files that are no photos.

    Exit code: 0 all are enrolled, 1 some are not, 2 it could not be done.

    Examples:

    ```sh
    facegraph gallery enrol staff people --url http://faces:8000
    facegraph gallery enrol staff people --url http://faces:8000 --failures bad.csv
    ```

    <!-- not run: needs a Ray cluster of several machines -->
    ```sh
    facegraph gallery enrol staff /shared/people --address auto --at-a-time 16
    ```
    """
    if url and address:
        raise typer.BadParameter("--url and --address exclude each other")
    from graph.batch.enrolment import enrol_persons, files_of
    from graph.batch.folder import photos_by_person

    photos, passed_over = photos_by_person(folder)
    _require_ids(folder, photos)
    persons = {person: files_of(folder, names) for person, names in photos.items()}
    report = partial(report_enrolment, persons, passed_over, failures=failures, as_json=as_json)
    if address:
        with closing(_enrol_on_cluster(gallery, folder, photos, address, file, at_a_time)) as done:
            report(done)
        return
    with open_galleries(url, api_key, file) as graph:
        report(enrol_persons(graph, gallery, persons, at_a_time=at_a_time))


def _enrol_on_cluster(
    gallery: str,
    folder: Path,
    photos: Mapping[str, Sequence[str]],
    address: str,
    file: Path,
    at_a_time: int,
) -> "Generator[list[PhotoOutcome]]":
    require_ray_data("--address")
    from graph.batch.ray_enrolment import enrol_on_ray_data
    from graph.cluster.serve_file import application_name, read_serve_file

    return enrol_on_ray_data(
        gallery,
        folder.resolve(),
        photos,
        address=address,
        app_name=application_name(read_serve_file(file)),
        at_a_time=at_a_time,
    )


def report_enrolment(
    persons: "Mapping[str, PersonPhotos]",
    passed_over: Mapping[str, str],
    done: "Iterable[list[PhotoOutcome]]",
    *,
    failures: Path | None,
    as_json: bool,
) -> None:
    """Show the progress of an enrolment, and report; exits with NO if some are not enrolled.

    passed_over: the reasons for files that are not sent. done: each person's outcomes.
    """
    from graph.batch.enrolment import PhotoOutcome

    counts = Counter[str]()
    missing = list[PhotoOutcome]()
    total = sum(len(person.photos) for person in persons.values())
    with photo_bar("Enrolling", total) as advance, _listed(failures) as listed:
        skipped = [PhotoOutcome(name, "skipped", why) for name, why in passed_over.items()]
        for number, outcomes in enumerate(chain([skipped], done)):
            for one in outcomes:
                counts[one.outcome] += 1
                if one.outcome not in ("enrolled", "exists"):
                    missing.append(one)
                    listed(one)
            if number:  # the first are no persons
                advance(len(outcomes), note=f"of {number} of {len(persons)} persons")
    if as_json:
        shown = [{"photo": one.photo, "reason": one.reason} for one in missing]
        print_json({"persons": len(persons), **counts, "failures": shown})
    else:
        _print(len(persons), counts, missing, failures)
    if missing:
        raise typer.Exit(NO)


def _require_ids(folder: Path, persons: Iterable[str]) -> None:
    """Raise BadParameter for a person's folder whose name is no id."""
    for person in persons:
        if not re.fullmatch(ID, person):
            raise typer.BadParameter(
                f"{folder / person}: a person's id has letters, digits, ., _, :, @ or -, at most"
                " 128: rename the folder"
            )


@contextmanager
def _listed(failures: Path | None) -> "Iterator[Callable[[PhotoOutcome], None]]":
    """The function that writes a photo to the file of failures, each at once."""
    if failures is None:
        yield lambda one: None
        return
    with failures.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("photo", "reason"))

        def write(one: "PhotoOutcome") -> None:
            rows.writerow((one.photo, one.reason))
            file.flush()

        yield write


def _print(
    persons: int,
    counts: Mapping[str, int],
    missing: "Sequence[PhotoOutcome]",
    failures: Path | None,
) -> None:
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    typer.echo(f"{persons} persons; photos: {told or 'none'}")
    if not missing:
        return
    if failures:
        typer.echo(f"{failures}: the {len(missing)} that are not enrolled, with the reasons")
    else:
        print_table(("photo", "not enrolled"), [(one.photo, one.reason) for one in missing])
