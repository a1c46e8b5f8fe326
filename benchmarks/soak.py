"""Memory growth under steady load: python -m benchmarks.soak [--requests 20000] [--clients 16]

serve_config.yaml on a cluster of its own answers a mixture of detections, embeddings and
comparisons of small photos, by default at concurrency 16, without a pause. Every few seconds the
RSS of every process of the cluster is read, and the bytes in use in the object store. `growth`
compares the median of the last quarter of the samples with that of the first. Sampling starts after
500 requests, when one-time allocations are over. Every answer is compared with that of the same
graph when idle. What the object store holds, and how many objects the processes refer to, is told
from before and after the load. --stand-ins: with stages that compute nothing, one replica of each.
"""

import argparse
import asyncio
import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import ray

from benchmarks.harness.load import (
    CONFIG,
    Request,
    compare_request,
    connection,
    cycled,
    post_of,
    resized_photo,
    with_answers,
)
from benchmarks.harness.processes import descendants, rss_mib
from benchmarks.harness.results import report
from benchmarks.harness.turns import LOGICAL_CPUS, SHIPPED, stand_in_content
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file
from tests.support.load import Load, Outcome, Sent
from tests.support.ray_private import (
    get_memory_info_reply,
    get_state_from_address,
    referenced_objects,
)

CONCURRENCY = 16
LONGER_SIDE = 240
WARM_UP = 500
SAMPLE_S = 5.0
# After the load, until garbage collections have freed what Serve's futures refer to.
SETTLING_S = 20.0
OK = 200
MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """Requests answered so far; MiB by process, and of the object store."""

    requests: int
    rss: dict[str, float]
    store: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="at most")
    parser.add_argument("--clients", type=int, default=CONCURRENCY)
    parser.add_argument("--stand-ins", action="store_true", help="stages that compute nothing")
    options = parser.parse_args()
    content = stand_in_content(SHIPPED) if options.stand_ins else read_serve_file(options.config)
    resources: dict[str, Any] = {"num_cpus": LOGICAL_CPUS} if options.stand_ins else {}
    with own_graph(content, **resources) as graph:
        asked = asyncio.run(with_answers(graph.url, mixture()))
        before = left()
        load, samples = asyncio.run(soak(graph.url, asked, options))
        time.sleep(SETTLING_S)
        after = left()
    if not samples:
        raise SystemExit(f"no sample: it takes {WARM_UP} requests and {SAMPLE_S:.0f} s")
    show(options, load.sent, samples, f"{before} before, {after} after")


async def soak(
    url: str, asked: Sequence[Request], options: argparse.Namespace
) -> tuple[Load, list[Sample]]:
    async with connection(url, options.clients) as post:
        load = cycled(post, asked)
        sampling = asyncio.create_task(sample(load))
        await load.run(options.clients, seconds=60 * options.minutes, requests=options.requests)
        sampling.cancel()
        return load, await sampling


def mixture() -> list[Request]:
    man, group = resized_photo("yaoming.jpg", LONGER_SIDE), resized_photo("gdp.jpg", LONGER_SIDE)
    return [
        post_of("/v1/detect", {"image": group}),
        post_of("/v1/embed", {"image": man}),
        post_of("/v1/embed", {"image": group}),
        compare_request(man, man),
        compare_request(group, man),
    ]


def kind_of(outcome: Outcome) -> str:
    if outcome.right is None:
        return f"failed: {outcome.status or outcome.failure}"
    return "right" if outcome.right else "wrong"


async def sample(load: Load) -> list[Sample]:
    """Sample until cancelled."""
    samples: list[Sample] = []
    try:
        while True:
            await asyncio.sleep(SAMPLE_S)
            if len(load.sent) >= WARM_UP:
                rss, store = await asyncio.to_thread(
                    lambda: (rss_mib(descendants(os.getpid())), object_store())
                )
                samples.append(Sample(len(load.sent), rss, store))
    except asyncio.CancelledError:
        return samples


def object_store() -> float:
    """MiB in use on this cluster's one node."""
    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    return float(get_memory_info_reply(state).store_stats.object_store_bytes_used) / MIB


def left() -> str:
    """What the object store holds, and the references of all processes."""
    return f"{object_store():.1f} MiB and {len(referenced_objects())} references"


def quarters(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and of the last quarter."""
    length = max(1, len(values) // 4)
    return median(values[:length]), median(values[-length:])


def rows(samples: Sequence[Sample]) -> list[tuple[object, ...]]:
    names = [name for name in samples[-1].rss if all(name in one.rss for one in samples)]
    series = {name: [one.rss[name] for one in samples] for name in names}
    series["all processes"] = [sum(one.rss.values()) for one in samples]
    series["object store"] = [one.store for one in samples]
    found: list[tuple[object, ...]] = []
    for name, values in series.items():
        first, last = quarters(values)
        growth = f"{(last / first - 1) * 100:+.1f} %" if first else f"{last - first:+.1f} MiB"
        found.append((name, f"{first:.1f}", f"{last:.1f}", growth, f"{max(values):.1f}"))
    return found


def show(
    options: argparse.Namespace, sent: Sequence[Sent], samples: Sequence[Sample], objects: str
) -> None:
    def draw(axes: Any) -> None:
        requests = [one.requests for one in samples]
        for name in samples[-1].rss:
            axes.plot(requests, [one.rss.get(name) for one in samples], lw=1, label=name)
        axes.plot(requests, [one.store for one in samples], "k--", lw=1, label="object store")
        axes.set(xlabel="requests", ylabel="MiB", ylim=(0, None))
        axes.legend(fontsize=6, ncol=2)

    outcomes = Counter(kind_of(one.outcome) for one in sent)
    counted = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
    latencies = [one.latency_s for one in sent if one.outcome.status == OK]
    p50, p99, slowest = np.percentile(latencies, [50, 99, 100])
    answered = f"answers after {p50:.2f} s, p99 {p99:.2f}, slowest {slowest:.2f}"
    title = f"RSS in MiB over {len(sent)} requests of {options.clients} clients ({counted})"
    title = f"{title}; {answered}; objects: {objects}"
    columns = ("process", "first quarter", "last quarter", "growth", "most")
    raw = [vars(one) for one in samples]
    name = "soak_stand_ins" if options.stand_ins else "soak"
    name = name if options.clients == CONCURRENCY else f"{name}_{options.clients}_clients"
    report(name, title, columns, rows(samples), draw=draw, raw=raw)


if __name__ == "__main__":
    main()
