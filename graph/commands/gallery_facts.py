"""`facegraph gallery add-person, change-person`: a person's name, metadata and expiry."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from deployments.gallery.contracts import Scalar
from graph.commands.expiry import end_from
from graph.commands.gallery import GalleryName, ask, json_object
from graph.commands.gallery_persons import PersonName, print_persons
from graph.commands.terminal import DEFAULT_FILE, ApiKey, AsJson, ConfigOption, Url

facts_app = typer.Typer()
Name = Annotated[str | None, typer.Option(help="Shown beside a candidate.")]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE|JSON",
        help="A fact by which `--filter` selects, and may be given several times: KEY=VALUE is a"
        ' text, an object such as `{"level": 3}` also has numbers and booleans.',
    ),
]
Expires = Annotated[
    datetime | None,
    typer.Option(
        parser=end_from,
        metavar="DATE|DAYS",
        help="From then on the person is found no more, and is deleted: days from now, such as 90d,"
        " or a date or date-time in UTC, such as 2127-01-31.",
    ),
]


@facts_app.command("add-person")
def add_person(
    gallery: GalleryName,
    person: Annotated[
        str | None, typer.Argument(help="The person's id; left out, a new one is made.")
    ] = None,
    name: Name = None,
    metadata: Metadata = None,
    expires: Expires = None,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Add a person, as yet without a face. A person who is there as given stays.

    Examples:

    <!-- not run: needs a gallery -->
    ```sh
    facegraph gallery add-person staff p-1018 --name "Yao Ming" --metadata team=night
    facegraph gallery add-person staff p-1019 --metadata '{"level": 3}' --expires 90d
    ```
    """
    facts = _facts(metadata)
    ask(
        lambda them: them.add_person(
            gallery, person, name=name, metadata=facts, expires_at=expires
        ),
        print_persons,
        url,
        api_key,
        file,
        as_json,
    )


@facts_app.command("change-person")
def change_person(
    gallery: GalleryName,
    person: PersonName,
    name: Name = None,
    metadata: Metadata = None,
    expires: Expires = None,
    no_name: Annotated[bool, typer.Option("--no-name", help="Take the name away.")] = False,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Take all metadata away.")
    ] = False,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="Keep the person.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Change a person's name, metadata or expiry; what is left out stays.

    The metadata that are given take the place of all that there were.

    Examples:

    <!-- not run: needs a person of a gallery -->
    ```sh
    facegraph gallery change-person staff p-1018 --metadata team=day --metadata floor=2
    facegraph gallery change-person staff p-1018 --expires 2127-01-31 --no-name
    ```
    """
    changes = _changes(
        {"name": name, "metadata": _facts(metadata), "expires_at": expires},
        {"name": no_name, "metadata": no_metadata, "expires_at": no_expiry},
    )
    ask(
        lambda them: them.change_person(gallery, person, **changes),
        print_persons,
        url,
        api_key,
        file,
        as_json,
    )


def _facts(texts: Sequence[str] | None) -> dict[str, Scalar] | None:
    """The facts by name; None if none are given. Raises BadParameter."""
    if not texts:
        return None
    facts: dict[str, Scalar] = {}
    for text in texts:
        key, is_pair, value = text.partition("=")
        if text.lstrip().startswith("{"):
            facts |= json_object(text)
        elif key and is_pair:
            facts[key] = value
        else:
            raise typer.BadParameter(f"--metadata {text}: expected KEY=VALUE, or a JSON object")
    return facts


def _changes(given: dict[str, Any], is_taken: dict[str, bool]) -> dict[str, Any]:
    """The fields that change, with None for those that are taken away. Raises BadParameter."""
    changes = {field: value for field, value in given.items() if value is not None}
    taken = dict.fromkeys(field for field, is_gone in is_taken.items() if is_gone)
    if both := changes.keys() & taken.keys():
        raise typer.BadParameter(f"{', '.join(sorted(both))}: either a new value or none")
    if not (changes or taken):
        raise typer.BadParameter("there is nothing to change: give --name, --metadata or --expires")
    return changes | taken
