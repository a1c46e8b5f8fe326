"""`facegraph plan`: sizes each stage for a rate of requests and shows the arithmetic."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.spelling import did_you_mean
from deployments.errors import InvalidRequest
from graph.bundled import bundled_photo
from graph.cluster.service_times import (
    SHIPPED,
    SHIPPED_GPU,
    RequestKind,
    ServiceTimes,
    read_service_times,
)
from graph.commands.terminal import (
    DEFAULT_FILE,
    AsJson,
    ConfigOption,
    err,
    print_json,
    print_progress,
    print_table,
    writable_file,
)

if TYPE_CHECKING:
    from graph.cluster.planning import Plan

_REQUESTS = 100
_MAX_BUSY = 0.95  # above it, requests wait too long to be of use


def plan(
    rps: Annotated[float, typer.Option(min=0.001, max=1e9, help="Requests a second to plan for.")],
    file: ConfigOption = DEFAULT_FILE,
    utilisation: Annotated[
        float, typer.Option(min=0.05, max=_MAX_BUSY, help="Share of time that workers are busy.")
    ] = 0.7,
    times: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="JSON file of service times, as --save writes it."
        ),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            help="A stage's seconds per request, such as Detector=0.02; may be given several times."
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure the file's models on this machine now.")
    ] = False,
    request: Annotated[
        RequestKind | None,
        typer.Option(help="With --measure: the route that is called.", show_default="compare"),
    ] = None,
    photos: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="With --measure: source and target, instead of the bundled photos.",
        ),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --measure: number of requests.", show_default=str(_REQUESTS)
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            callback=writable_file,
            help="With --measure: file to write the measured times to.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Size every stage for a rate of requests, from the seconds that one request costs it.

    Without `--times`, `--measure` or enough of `--cost`, the times are those of the default models
    as measured for this version or, where the file has stages on GPUs, those of the GPU profile on
    an H100; another machine has others.

    Examples:

    <!-- not run: measures for a minute, on an idle machine -->
    ```sh
    facegraph plan --rps 500
    facegraph plan --rps 500 --measure --photos a.jpg b.jpg --save times.json
    facegraph plan --rps 2000 --config gpu.yaml --times times.json --utilisation 0.6
    ```
    """
    # These load Ray, which other commands do not need.
    from graph.cluster.planning import plan_cluster, replica_shapes
    from graph.cluster.serve_file import graph_config, read_serve_file

    if measure and times:
        raise typer.BadParameter("--measure and --times exclude each other")
    if not measure and (request or photos or requests or save):
        raise typer.BadParameter("--request, --photos, --requests and --save need --measure")
    content = read_serve_file(file)
    shapes = replica_shapes(content)
    given = given_costs(cost or (), [shape.deployment for shape in shapes])
    if measure:
        measured = _measured(content, request or "compare", photos, requests or _REQUESTS)
    else:
        shipped = SHIPPED_GPU if any(shape.gpus for shape in shapes) else SHIPPED
        measured = read_service_times(times or shipped)
    if save:
        save.write_text(measured.model_dump_json(indent=2) + "\n")
    sized = plan_cluster(rps, measured.cost_s | given, shapes, utilisation)
    if graph_config(content).gallery.enabled:
        print_progress(
            "Gallery: not in the plan, as a search takes longer in a larger gallery:"
            " docs/scaling.md#galleries"
        )
    if as_json:
        print_json(_as_json(sized, measured, given))
    else:
        _show(sized, measured, given)


def _measured(
    content: Mapping[str, Any],
    request: RequestKind,
    photos: tuple[Path, Path] | None,
    requests: int,
) -> ServiceTimes:
    from graph.cluster.measurement import measure

    pair = photos or _bundled_photos()
    with err.status(f"Asking a private graph {requests} times ..."):
        return measure(content, request, pair, requests)


def _bundled_photos() -> tuple[Path, Path]:
    try:
        return bundled_photo("yaoming.jpg"), bundled_photo("gdp.jpg")
    except FileNotFoundError as error:
        raise InvalidRequest(f"--photos is needed: {error}") from error


def given_costs(costs: Sequence[str], stages: Sequence[str]) -> dict[str, float]:
    """Parse `Detector=0.02` to {"Detector": 0.02}; raises InvalidRequest for anything else, and
    for a name that is not among the stages."""
    given = {}
    for cost in costs:
        name, _, seconds = cost.partition("=")
        if name not in stages:
            close = did_you_mean(name, stages)
            raise InvalidRequest(
                f"--cost {cost}: no stage {name!r}{close}; the graph has {', '.join(stages)}"
            )
        try:
            given[name] = float(seconds)
        except ValueError:
            raise InvalidRequest(f"--cost {cost}: expected STAGE=SECONDS") from None
        if not 0 <= given[name] < float("inf"):
            raise InvalidRequest(f"--cost {cost}: expected seconds of 0 or more")
    return given


def _as_json(sized: "Plan", measured: ServiceTimes, given: Mapping[str, float]) -> dict[str, Any]:
    stages = [
        {
            "deployment": stage.shape.deployment,
            "replicas": stage.replicas,
            "cpus": stage.cpus,
            "gpus": stage.gpus,
            "workers_per_replica": stage.shape.workers,
            "cost_s": stage.cost_s,
            "busy_workers": stage.load,
            "requests_at_replica": sized.ongoing_requests(stage),
            "why": stage.why,
        }
        for stage in sized.stages
    ]
    return {
        "requests_per_s": sized.requests_per_s,
        "utilisation": sized.utilisation,
        "cpus": sized.cpus,
        "gpus": sized.gpus,
        "stages": stages,
        "service_times": measured.model_dump(mode="json"),
        "given_cost_s": dict(given),
        "yaml": sized.as_yaml(),
    }


def _show(sized: "Plan", measured: ServiceTimes, given: Mapping[str, float]) -> None:
    typer.echo(f"{sized.requests_per_s:g} requests/s at {sized.utilisation:.0%} utilisation")
    rows = [
        (
            stage.shape.deployment,
            str(stage.replicas),
            f"{stage.cpus:g}",
            f"{stage.gpus:g}",
            stage.why,
        )
        for stage in sized.stages
    ]
    replicas = sum(stage.replicas for stage in sized.stages)
    together = ("together", str(replicas), f"{sized.cpus:g}", f"{sized.gpus:g}", "")
    columns = ("stage", "replicas", "CPUs", "GPUs", "why")
    print_table(columns, [*rows, together], numbers=columns[1:4])
    count = f"{measured.requests} requests" if measured.requests else "worked out from figures"
    typer.echo(f"Service times: {measured.request}, {count} on {measured.measured_on}")
    if given:
        typer.echo(f"Given: {', '.join(given)}")
    typer.echo(f"\nTo paste into the application:\n\n{sized.as_yaml()}")
