"""Ray Data on a running cluster or a private one: blocks of rows, mapped by actors."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import ray

from graph.client.cluster import join_cluster
from graph.cluster.private import own_cluster

# Blocks are smaller if an actor would get fewer of them than this.
_MIN_BLOCKS_PER_ACTOR = 4


@contextmanager
def on_cluster(address: str | None) -> Iterator[None]:
    """Within the block this process is on the Ray cluster at `address`; None starts one here.

    Raises ModelUnavailable if no cluster answers at `address`.
    """
    if address is None:
        with own_cluster():
            yield
        return
    was_joined = ray.is_initialized()
    join_cluster(address)
    try:
        yield
    finally:
        if not was_joined:
            ray.shutdown()


def blocks_of(rows: pa.Table, *, actors: int, most: int) -> list[pa.Table]:
    """The rows in blocks of at most `most`, smaller ones if that gives each actor some."""
    size = max(1, min(most, len(rows) // (actors * _MIN_BLOCKS_PER_ACTOR)))
    return [rows.slice(start, size) for start in range(0, len(rows), size)]


def map_blocks(
    blocks: Sequence[pa.Table],
    actor: type[Callable[[pa.Table], pa.Table]],
    arguments: Mapping[str, Any],
    *,
    actors: int,
    **options: Any,
) -> Iterator[pa.Table]:
    """Map blocks by a number of actors; yields their answers as they come.

    arguments: of the actors' constructor. options: Ray's, of an actor.
    """
    # Ray warns, on stderr, of actors that may be restarted, and that the option is deprecated.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        dataset = _quiet_dataset(blocks).map_batches(
            actor,
            fn_constructor_kwargs=dict(arguments),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=actors),
            **options,
        )
    yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")


def _quiet_dataset(blocks: Sequence[pa.Table]) -> "ray.data.Dataset":
    """A dataset that prints nothing: the caller shows the progress."""
    context = ray.data.DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # the import of ray.data has set another
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return ray.data.from_arrow(list(blocks))
