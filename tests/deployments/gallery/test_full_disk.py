"""The embedded database on a disk that is full to the last byte.

The disk is a tmpfs in a namespace of this module's own process (`unshare`, of util-linux), which
needs no rights on the machine.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from configs.gallery import EmbeddedServerConfig
from deployments.errors import GalleryDiskFull
from deployments.gallery.contracts import NewPerson, SearchQuery
from deployments.gallery.schema import migrate
from deployments.gallery.server import EmbeddedServer
from deployments.gallery.store import Store
from tests.support.galleries import KEY, axis, embedded, enrol, opened, source, with_gallery
from tests.support.profiles import ROOT

DISK_MIB = 320  # with min_free_mb free beside an empty database
FACES = 40
MOUNTED = f'mount -t tmpfs -o size={DISK_MIB}m tmpfs "$0" && exec "$@" "$0"'
# PostgreSQL refuses to run as root, and there is no other user in the namespace.
NOBODY = ["unshare", "-U", "--map-user=65534", "--map-group=65534"]


def in_namespace(*command: str) -> list[str]:
    """A command of a process that may mount: root of a namespace of its own."""
    return ["unshare", "-Urm", *command]


def test_a_full_disk_refuses_changes_and_loses_none(tmp_path: Path) -> None:
    if subprocess.run(in_namespace("true"), capture_output=True, check=False).returncode:
        pytest.skip("this machine permits no namespaces")
    module = [sys.executable, "-m", "tests.deployments.gallery.test_full_disk"]
    command = in_namespace("sh", "-c", MOUNTED, str(tmp_path), *NOBODY, *module)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """The disk with not one byte left."""
    rest = disk / "rest"
    with rest.open("wb", buffering=0) as file, suppress(OSError):
        while True:  # the last write that succeeds is one of a part
            file.write(bytes(2**20))
    yield
    rest.unlink()


async def check(disk: Path) -> None:
    server = EmbeddedServer(disk / "galleries", EmbeddedServerConfig(shared_buffers_mb=16)).start()
    try:
        server.wait()
        migrate(server.dsn)
        async with opened(server.dsn, folder=disk / "galleries") as store:
            await with_gallery(store)
            for number in range(FACES):
                await enrol(store, f"p{number}", axis(number))
            first = server.pid
            # The next search marks the rows as committed, and would log their pages.
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                connection.execute("CHECKPOINT")
            with full(disk):
                await _refuses_all_but_searches(store)
            assert server.pid == first
            await enrol(store, "after", axis(FACES))
            assert (await store.get_gallery("staff")).persons == FACES + 1
            assert (await store.delete_person("staff", "p0", key=KEY)).purged
    finally:
        server.stop()


async def _refuses_all_but_searches(store: Store) -> None:
    photo, taken = embedded(axis(0, towards=1, cosine=0.9)), [source("new")]
    for change in (
        lambda: store.put_person("staff", NewPerson("new"), key=KEY),
        lambda: store.enrol([photo], "staff", "p0", taken, key=KEY),
        lambda: store.delete_person("staff", "p0", key=KEY),
        lambda: store.delete_gallery("staff", key=KEY),
    ):
        with pytest.raises(GalleryDiskFull, match="0 MiB are free") as raised:
            await change()
        assert (raised.value.status, raised.value.details) == (503, {"retry_after_s": 1})
    for number in range(FACES):
        found = await store.search([embedded(axis(number))], SearchQuery("staff", top_k=1))
        assert found.faces[0].candidates[0].person == f"p{number}"


if __name__ == "__main__":
    asyncio.run(check(Path(sys.argv[1])))
