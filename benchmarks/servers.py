"""The graph beside other servers of the same models, over HTTP: python -m benchmarks.servers

All servers are up at once, and one of them at a time gets load; the graph is stopped except in its
own turn. In every round each server answers the same requests at the same concurrency, one after
the other, the graph last in every other round. So the ratios, medians over the rounds, are of
figures measured within seconds of each other, and a slow minute of the machine slows every server.
Client and servers share the machine's cores. Slow peers take part in the first round only, at few
concurrencies.

The default models are compared with plain ONNX Runtime and InsightFace (see benchmarks/peers). The
published models, with stand-in weights, are compared with eager PyTorch in separate runs: once as
serve_config.yaml sets the graph, with its recognizer in bfloat16, and once with its detector in
bfloat16 too, whose accuracy cannot be judged without the published weights. The peers compute in
float32.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.harness.load import CONFIG, Measured, Request, measure, photo_640, post_of
from benchmarks.harness.pausing import PausableGraph, pausable_graph
from benchmarks.harness.results import paired_ratio, report
from benchmarks.peers import eager
from benchmarks.peers.process import Peer, running_peer
from configs.model import Precision
from deployments.inference.machine import Machine
from graph.cluster.serve_file import read_serve_file

GRAPH = "graph"
PLAIN, INSIGHTFACE = "plain", "insightface_server"
PLAIN_COARSE = "plain, coarse to fine"
PEERS = (
    Peer("plain", PLAIN, ("--threads", "1")),
    Peer(PLAIN_COARSE, PLAIN, ("--threads", "1", "--coarse-to-fine")),
    Peer("plain, 2 threads", PLAIN, ("--threads", "2", "--workers", "2")),
    Peer("insightface", INSIGHTFACE, ("--threads", "1", "--faces", "largest")),
    Peer("insightface, every face", INSIGHTFACE, ("--threads", "1"), slow=True),
    Peer("insightface as shipped", INSIGHTFACE, slow=True),
)
EAGER = Peer("eager PyTorch", "eager")
EAGER_TITLE = "Published models over HTTP"
SLOW_CONCURRENCY = (1, 16)
# A client's first request meets an idle server and is not among the latencies.
REQUESTS_PER_CLIENT = 2
WARM_UP_S = 3.0
# Largest difference of cosines by the same models: the graph averages a large face down before it
# aligns it, and its recognizer may compute in bfloat16.
SAME_ANSWER = 0.01
COLUMNS = (
    "workload",
    "concurrency",
    "server",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "failed",
    "graph/it requests/s",
    "graph/it p50",
)


@dataclass(frozen=True)
class Workload:
    """A request that is sent over and over: photos by field."""

    name: str
    path: str
    photos: dict[str, str]

    def request(self) -> Request:
        photos = {field: photo_640(photo) for field, photo in self.photos.items()}
        return post_of(self.path, photos)


PORTRAIT, GROUP, PLAYERS = "yaoming.jpg", "gdp.jpg", "players.jpg"
GROUPS = Workload("compare, two groups", "/v1/compare", {"source": GROUP, "target": PLAYERS})
WORKLOADS = (
    Workload("compare, portrait and group", "/v1/compare", {"source": PORTRAIT, "target": PLAYERS}),
    GROUPS,
    Workload("compare, two portraits", "/v1/compare", {"source": PORTRAIT, "target": PORTRAIT}),
    Workload("embed, a portrait", "/v1/embed", {"image": PORTRAIT}),
)


@dataclass(frozen=True)
class Figures:
    """The figures of one server in one round."""

    workload: str
    concurrency: int
    server: str
    round: int
    measured: Measured


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: float
    concurrency: Sequence[int]
    workloads: Sequence[Workload]


def main() -> None:
    options = parsed_options()
    plan = Plan(options.rounds, options.seconds, options.concurrency, WORKLOADS)
    wanted = [peer for peer in PEERS if peer.name in options.only]
    if wanted:
        with servers(read_serve_file(CONFIG), wanted) as (graph, urls):
            if PLAIN_COARSE in urls:
                require_same_answers(graph.url, urls[PLAIN_COARSE])
            figures = list(measured(graph, urls, wanted, plan))
        publish("servers", "Default models over HTTP", figures)
    few = [size for size in plan.concurrency if size in SLOW_CONCURRENCY]
    if EAGER.name in options.only and few:
        plan = Plan(options.eager_rounds, plan.seconds, few, (GROUPS,))
        publish("servers-eager", EAGER_TITLE, list(against_eager(plan, "auto")))
        if Machine().native_bfloat16:
            figures = list(against_eager(plan, "bfloat16"))
            publish("servers-eager-bfloat16", f"{EAGER_TITLE}, all in bfloat16", figures)


def parsed_options() -> argparse.Namespace:
    names = [peer.name for peer in (*PEERS, EAGER)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--eager-rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2, help="for each server, each time")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PEER")
    return parser.parse_args()


@contextmanager
def servers(
    content: dict[str, Any], peers: Sequence[Peer]
) -> Iterator[tuple[PausableGraph, dict[str, str]]]:
    """The graph and its peers' URLs, all up."""
    with ExitStack() as stack:
        graph = stack.enter_context(pausable_graph(content))
        yield graph, {peer.name: stack.enter_context(running_peer(peer)) for peer in peers}


def against_eager(plan: Plan, detector: Precision) -> Iterator[Figures]:
    """detector: precision of the graph's detector. serve_config.yaml sets its recognizer's."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        eager.save_stand_ins(models)
        compiled = Path(folder) / "compiled"
        content = published(read_serve_file(CONFIG), models, detector, compiled=compiled)
        peer = replace(EAGER, arguments=("--weights", str(models)))
        with servers(content, [peer]) as (graph, urls):
            yield from measured(graph, urls, [peer], plan)


def published(
    content: dict[str, Any], models: Path, detector: Precision, *, compiled: Path
) -> dict[str, Any]:
    """serve_config.yaml with the published models in place of the default ones."""
    application = content["applications"][0]
    args = application["args"]
    settings = {
        "model": eager.DETECTOR,
        "weights": str(models / eager.DETECTOR),
        "score_threshold": eager.SCORE_THRESHOLD,
        "precision": detector,
        "coarse_side": None,  # the stand-ins' faces have no size
    }
    recognizer = {"model": eager.RECOGNIZER, "weights": str(models / eager.RECOGNIZER)}
    pools = {name: pool | recognizer for name, pool in args["recognizers"].items()}
    environment = {"FACEGRAPH_OPENVINO_CACHE": str(compiled)}
    changed = args | {
        "detector": args["detector"] | settings,
        "recognizers": pools,
        "request_limits": args.get("request_limits", {}) | {"timeout_s": 300},
    }
    runtime = application.get("runtime_env", {})
    variables = runtime.get("env_vars", {}) | environment
    replaced = {"args": changed, "runtime_env": runtime | {"env_vars": variables}}
    return content | {"applications": [application | replaced]}


def measured(
    graph: PausableGraph, urls: dict[str, str], peers: Sequence[Peer], plan: Plan
) -> Iterator[Figures]:
    slow = {peer.name for peer in peers if peer.slow}
    for url in (graph.url, *urls.values()):
        warm_up(url, plan)
    for turn in range(plan.rounds):
        for concurrency in plan.concurrency:
            for workload in plan.workloads:
                idle = slow if turn or concurrency not in SLOW_CONCURRENCY else ()
                met = {name: url for name, url in urls.items() if name not in idle}
                figures = partial(
                    figures_of, workload, concurrency=concurrency, turn=turn, seconds=plan.seconds
                )
                if turn % 2 == 0:
                    yield figures(GRAPH, graph.url)
                with graph.paused():
                    yield from [figures(name, url) for name, url in met.items()]
                if turn % 2:
                    yield figures(GRAPH, graph.url)


def warm_up(url: str, plan: Plan) -> None:
    """Send every request once and check that it is answered; then some load."""
    for workload in plan.workloads:
        answer(url, workload)
        measure(url, workload.request(), concurrency=4, seconds=WARM_UP_S)


def figures_of(
    workload: Workload, name: str, url: str, *, concurrency: int, turn: int, seconds: float
) -> Figures:
    found = measure(
        url,
        workload.request(),
        concurrency=concurrency,
        seconds=seconds,
        at_least=REQUESTS_PER_CLIENT,
    )
    return Figures(workload.name, concurrency, name, turn, found)


def answer(url: str, workload: Workload) -> Any:
    """A server's answer to one request. Raises HTTPStatusError for any status but success."""
    request = workload.request()
    headers = {"content-type": request.content_type}
    got = httpx.post(url + request.path, content=request.body, headers=headers, timeout=120)
    return got.raise_for_status().json()


def require_same_answers(graph_url: str, plain_url: str) -> None:
    """Raise RuntimeError if the graph and the plain server, with the same models, disagree."""
    for workload in WORKLOADS:
        if workload.path == "/v1/compare":
            ours, theirs = (answer(url, workload)["similarity"] for url in (graph_url, plain_url))
            if abs(ours - theirs) > SAME_ANSWER:
                raise RuntimeError(f"{workload.name}: graph {ours:.4f}, plain {theirs:.4f}")


def publish(name: str, title: str, figures: Sequence[Figures]) -> None:
    """A row for each workload, concurrency and server, the graph's first."""
    cases = {(item.workload, item.concurrency) for item in figures}
    rows = [row for case in sorted(cases) for row in rows_of(figures, *case)]
    draw = partial(draw_ratios, rows)
    report(name, title, COLUMNS, rows, draw=draw, raw=[asdict(item) for item in figures])


def rows_of(
    figures: Sequence[Figures], workload: str, concurrency: int
) -> Iterator[tuple[object, ...]]:
    """Medians over the rounds, and medians of the graph's figures over the server's."""
    series: dict[str, list[Figures]] = {}
    for item in sorted(figures, key=lambda item: (item.server != GRAPH, item.round)):
        if (item.workload, item.concurrency) == (workload, concurrency):
            series.setdefault(item.server, []).append(item)
    for server, items in series.items():
        yield (
            workload,
            concurrency,
            server,
            round(median(item.measured.rate for item in items), 1),
            round(median(item.measured.p50_ms for item in items), 1),
            round(median(item.measured.p99_ms for item in items), 1),
            sum(item.measured.failed for item in items),
            *(round(ratio, 2) for ratio in ratios(series[GRAPH], items)),
        )


def ratios(graph: Sequence[Figures], server: Sequence[Figures]) -> tuple[float, float]:
    """The ratio of the requests/s, and that of the p50."""
    met = {item.round for item in server}
    sides = [[item for item in graph if item.round in met], server]
    rates = ([item.measured.rate for item in side] for side in sides)
    times = ([item.measured.p50_ms for item in side] for side in sides)
    return paired_ratio(*rates), paired_ratio(*times)


def draw_ratios(rows: Sequence[Sequence[Any]], axes: Any) -> None:
    """The graph's requests/s over each peer's: a group of bars for each case, a colour a peer."""
    cases = list(dict.fromkeys((row[0], row[1]) for row in rows))
    peers = [name for name in dict.fromkeys(row[2] for row in rows) if name != GRAPH]
    width = 0.8 / len(peers)
    for place, peer in enumerate(peers):
        own = [row for row in rows if row[2] == peer]
        at = [cases.index((row[0], row[1])) + (place + 0.5) * width - 0.4 for row in own]
        axes.bar(at, [row[7] for row in own], width, label=peer)
    axes.axhline(1, color="black", linewidth=1)
    labels = [f"{workload}: {concurrency}" for workload, concurrency in cases]
    axes.set_xticks(range(len(cases)), labels, rotation=30, ha="right", fontsize=7)
    axes.set_ylabel("requests/s, the graph's over the peer's")
    axes.legend(fontsize=7)


if __name__ == "__main__":
    main()
