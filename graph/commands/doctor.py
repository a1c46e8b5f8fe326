"""`facegraph doctor`: checks that a profile can start on this machine."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.errors import InvalidConfig
from graph.commands.terminal import DEFAULT_FILE, NO, AsJson, ConfigFile, print_json, stdout_console

if TYPE_CHECKING:
    from graph.cluster.doctor import Finding


def doctor(
    file: ConfigFile = DEFAULT_FILE,
    quick: Annotated[
        bool, typer.Option("--quick", help="Look for weights, but do not load them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that the graph of a Serve config file can start on this machine; show how it would run.

    Shows versions, CPU features, memory, paths, the port, HAProxy, room for the replicas and, for
    each model, the weights' file, the runtime, device and precision, and the reason. To see them,
    each model is loaded. A missing part comes with the command that installs it.

    Exit code: 0 it can start, 1 it cannot.

    Examples:

    <!-- not run: needs a GPU -->
    ```sh
    facegraph doctor
    facegraph doctor configs/profiles/gpu.yaml --json
    ```
    """
    findings = list(_findings(file, load=not quick))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(NO)


def _print(findings: Sequence["Finding"]) -> None:
    out = stdout_console()
    colours = {"ok": "green", "note": "yellow", "fault": "red"}
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        out.print(f"{finding.state:<6}", style=colours[finding.state], end="")
        out.print(f"{finding.subject:<{width}}  {finding.found}", markup=False)
        if finding.help:
            out.print(f"{'':<{width + 6}}  -> {finding.help}", markup=False)
    faults = sum(finding.state == "fault" for finding in findings)
    counted = f"{faults} fault{'s' if faults > 1 else ''}: the graph cannot start."
    out.print(counted if faults else "The graph can start.")


def _findings(file: Path, *, load: bool) -> Iterator["Finding"]:
    from graph.cluster.doctor import Finding, file_findings, machine_findings, model_findings

    for finding in machine_findings():
        yield finding
        if finding.state == "fault":  # nothing below could be loaded
            return
    from graph.cluster.serve_file import graph_config, read_serve_file

    try:
        content = read_serve_file(file)
    except InvalidConfig as error:
        yield Finding("file", "fault", error.message)
        return
    yield Finding("file", "ok", str(file))
    config = graph_config(content)
    yield from file_findings(content, config)
    yield from model_findings(config, load=load)
