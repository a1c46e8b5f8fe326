"""`facegraph keys`: makes API keys, and lists those of a file."""

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
import yaml

from configs.access import ApiKey, KeyScope, require_key_name, utc_text
from configs.files import write_atomically
from deployments.errors import InvalidConfig
from graph.commands.expiry import end_from
from graph.commands.terminal import NO, AsJson, err, print_json, print_table
from graph.http.keys import digest_of, new_key, parse_keys, read_keys

KeysFile = Annotated[Path, typer.Option(help="YAML file that access.keys_file names.")]


def _valid_name(name: str) -> str:
    try:
        return require_key_name(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _end(text: str | None) -> str | None:
    """Return the end of a key as text in UTC. Raises BadParameter, also for one that is past."""
    return None if text is None else utc_text(end_from(text))


def _scopes(text: str | None) -> list[str]:
    names = _names(text)
    known = get_args(KeyScope)
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}")
    return names


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


keys_app = typer.Typer(no_args_is_help=True, help="Make API keys, and see when they expire.")


@dataclass(frozen=True)
class ListedKey:
    """A key of a file. expires: its end in UTC; days_left: whole days until then, below zero if it
    has expired; both None for a key without an end. galleries: of its scopes; None for all."""

    name: str
    expires: str | None
    days_left: int | None
    scopes: tuple[str, ...] = ()
    galleries: tuple[str, ...] | None = None

    @classmethod
    def of(cls, name: str, key: ApiKey, now: datetime) -> "ListedKey":
        end = key.expires
        days_left = (end - now).days if end else None
        return cls(name, utc_text(end) if end else None, days_left, key.scopes, key.galleries)

    @property
    def days_text(self) -> str:
        if self.days_left is None:
            return ""
        return "expired" if self.days_left < 0 else str(self.days_left)

    @property
    def rights(self) -> str:
        """The key's rights to galleries, such as `search in staff, guests`."""
        where = "" if self.galleries is None else f" in {', '.join(self.galleries)}"
        return f"{', '.join(self.scopes)}{where}" if self.scopes else ""


@keys_app.command()
def new(
    name: Annotated[
        str,
        typer.Argument(
            callback=_valid_name,
            help="Name of the client that the key is for; appears in the log and the metrics.",
        ),
    ],
    file: KeysFile,
    expires: Annotated[
        str | None,
        typer.Option(
            callback=_end,
            help="End of the key: days from now, such as 90d, or a date or date-time in UTC, such"
            " as 2027-01-31. Left out, it has none.",
        ),
    ] = None,
    scopes: Annotated[
        str | None,
        typer.Option(
            help="Rights to galleries, separated by commas: verify, search, enrol, admin. Left out,"
            " none.",
        ),
    ] = None,
    galleries: Annotated[
        str | None,
        typer.Option(help="Galleries of these rights, separated by commas. Left out, all."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a new key, once, and add its name and SHA-256 to the file.

    Examples:

    ```sh
    facegraph keys new phone-app --file keys.yaml
    facegraph keys new phone-app-2 --file keys.yaml --expires 90d
    facegraph keys new entrance --file keys.yaml --scopes search --galleries staff
    ```
    """
    key = new_key()
    rights = {"scopes": _scopes(scopes), "galleries": _names(galleries)}
    ends = {"expires": expires} if expires else {}
    _add_key(file, name, digest_of(key.encode()), ends | {k: v for k, v in rights.items() if v})
    if as_json:
        shown = {"name": name, "key": key, "expires": expires, "file": str(file)}
        print_json(shown | {"scopes": rights["scopes"], "galleries": rights["galleries"] or None})
    else:
        typer.echo(key)
    err.print(f"{file} holds only its SHA-256: keep the key, it is not shown again", markup=False)


@keys_app.command("list")
def list_keys(
    file: KeysFile,
    within: Annotated[
        int, typer.Option(min=0, help="Days: exit 1 if a key of the file expires within them.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """List the keys of a file, with the days until they expire. Exit 1 if one has expired.

    Examples:

    ```sh
    facegraph keys list --file keys.yaml
    facegraph keys list --file keys.yaml --within 14 || echo "make new keys"
    ```
    """
    now = datetime.now(timezone.utc)
    keys = [ListedKey.of(name, key, now) for name, key in read_keys(file).items()]
    if as_json:
        print_json([asdict(key) for key in keys])
    else:
        rows = [(key.name, key.expires or "never", key.days_text, key.rights) for key in keys]
        columns = ("name", "expires", "days left", "galleries")
        print_table(columns, rows, numbers=("days left",))
    if any(key.days_left is not None and key.days_left < within for key in keys):
        raise typer.Exit(NO)


def _add_key(file: Path, name: str, digest: str, more: dict[str, Any]) -> None:
    """Add a key to the file; its other lines, comments included, stay as they are.

    more: the key's other fields.

    Raises InvalidConfig for a name that is taken, or a file that is not a keys file.
    """
    text = file.read_text() if file.exists() else ""
    if name in parse_keys(text, str(file)):
        raise InvalidConfig(
            f"{file}: there is a key for {name!r}; take it out first, or give the new one another"
            " name, so that both work until the client has changed over"
        )
    if text and not text.endswith("\n"):
        text += "\n"
    key = {"sha256": digest, **more} if more else digest
    text += yaml.safe_dump({name: key}, sort_keys=False)
    parse_keys(text, str(file))
    write_atomically(file.resolve(), text, mode=0o600)
