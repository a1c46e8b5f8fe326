"""Thousands of damaged images and bodies, and an attack on memory: python -m benchmarks.fuzz

Every request is made from its seed (tests/support/fuzzing); `--only SEED` sends one again and
prints the answer. An answer is wrong if its status or code is not in the contract's table, if it is
a 5xx, or if there is none. Only a body that stalls is rightly answered with 504, by its deadline.

The attack: sixteen concurrent comparisons of two one-colour PNGs of 40 megapixels each, 4 MB in
all, with the limit of pixels in flight and without. Memory is a replica's peak RSS (VmHWM, reset
before each part). serve_config.yaml runs with one replica of each stage.
"""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import httpx

from benchmarks.harness.load import CONFIG, compare_request
from benchmarks.harness.processes import descendants, memory_of
from benchmarks.harness.results import report
from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file
from tests.support.fuzzing.cases import Case, case, slow_case
from tests.support.fuzzing.images import one_colour
from tests.support.fuzzing.verdict import code_of, is_wrong

T = TypeVar("T")

ATTACKERS, MEGAPIXELS = 16, 40
SLOW_EVERY = 100
BODY_TIMEOUT_S = 2.0
UNLIMITED = 10**12


@dataclass(frozen=True)
class Sent:
    kind: str
    seed: int
    code: str
    seconds: float
    wrong: bool


@dataclass(frozen=True)
class Replica:
    """A replica's process, and its RSS in MiB: before a part, at its peak and after it."""

    name: str
    pid: int
    before: float
    peak: float
    after: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--only", type=int, help="send one case and print its answer")
    options = parser.parse_args()
    if options.only is not None:
        with graph(limited=True) as url:
            print(asyncio.run(show(url, options.only)))
        return
    with graph(limited=False) as url:
        unlimited, _ = watched(lambda: asyncio.run(attack(url)))
    with graph(limited=True) as url:
        limited, answers = watched(lambda: asyncio.run(attack(url)))
        seeds = range(options.seed, options.seed + options.requests)
        fuzzed, sent = watched(lambda: asyncio.run(fuzz(url, seeds, options.concurrency)))
    report_fuzz(sent, answers, {"attack, no limit": unlimited, "attack": limited, "fuzz": fuzzed})
    sys.exit(any(item.wrong for item in sent))


@contextmanager
def graph(*, limited: bool) -> Iterator[str]:
    content = read_serve_file(CONFIG)
    application = content["applications"][0]
    args = application["args"]
    args["request_limits"]["body_timeout_s"] = BODY_TIMEOUT_S
    if not limited:
        args["image_limits"]["max_pixels_in_flight"] = UNLIMITED
    for deployment in application["deployments"]:
        deployment["autoscaling_config"] |= {"min_replicas": 1, "max_replicas": 1}
    with own_graph(content, num_cpus=4) as running:
        yield running.url


def watched(work: Callable[[], T]) -> tuple[list[Replica], T]:
    """The memory of each replica, and the work's result. Exits if a replica has died."""
    processes = {item.pid: item.title for item in descendants(os.getpid()) if item.is_replica}
    before = {pid: memory_of(pid) for pid in processes}
    for pid in processes:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here
    result = work()
    found = []
    for pid, name in processes.items():
        start, end = before[pid], memory_of(pid)
        if start is None or end is None:
            raise SystemExit(f"{name}: replica {pid} has died")
        found.append(Replica(name, pid, start.rss_mib, end.peak_mib, end.rss_mib))
    return found, result


async def attack(url: str) -> Counter[str]:
    picture = one_colour(Random(1), MEGAPIXELS, rgb=True)
    request = compare_request(picture, picture)
    headers = {"content-type": request.content_type}
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        posts = [
            client.post(request.path, content=request.body, headers=headers)
            for _ in range(ATTACKERS)
        ]
        return Counter([code_of(answer) for answer in await asyncio.gather(*posts)])


async def fuzz(url: str, seeds: Sequence[int], concurrency: int) -> list[Sent]:
    waiting = iter(seeds)

    async def client() -> list[Sent]:
        async with httpx.AsyncClient(base_url=url, timeout=90) as session:
            return [await answered(session, made(seed)) for seed in waiting]

    parts = await asyncio.gather(*(client() for _ in range(concurrency)))
    return [item for part in parts for item in part]


def made(seed: int) -> Case:
    return slow_case(seed) if seed % SLOW_EVERY == 0 else case(seed)


async def answered(client: httpx.AsyncClient, sent: Case) -> Sent:
    started = time.perf_counter()
    try:
        code = code_of(await sent.send(client))
        wrong = is_wrong(code, slow=sent.slow)
    except (httpx.HTTPError, ValueError, AssertionError, KeyError) as error:
        code, wrong = f"{type(error).__name__}: {error}"[:200], True
    return Sent(sent.kind, sent.seed, code, time.perf_counter() - started, wrong)


async def show(url: str, seed: int) -> str:
    sent = made(seed)
    async with httpx.AsyncClient(base_url=url, timeout=90) as client:
        answer = await sent.send(client)
    return f"{sent.kind}: {sent.path} {sent.content[:300]!r}\n{answer.status_code} {answer.text}"


def report_fuzz(
    sent: Sequence[Sent], attacked: Counter[str], memory: dict[str, list[Replica]]
) -> None:
    rows: list[tuple[object, ...]] = [
        (name, *kind_cells([item for item in sent if item.kind == name]))
        for name in sorted({item.kind for item in sent})
    ]
    rows.append(("all", *kind_cells(sent)))
    for part, replicas in memory.items():
        for item in replicas:
            cells = (f"{item.before:.0f}", f"{item.peak:.0f} MiB", f"{item.after:.0f}")
            rows.append((f"{part}: {item.name}", "", "", *cells))
    raw = {
        "attack": attacked,
        "memory": {part: [asdict(item) for item in found] for part, found in memory.items()},
        "wrong": [asdict(item) for item in sent if item.wrong],
    }
    columns = ("request, or replica", "sent", "wrong", "ok / before", "codes / peak", "s / after")
    title = f"{len(sent)} damaged requests, and {ATTACKERS} x 2 PNGs of {MEGAPIXELS} megapixels"
    report("fuzz", title, columns, rows, draw=lambda axes: draw(axes, memory), raw=raw)


def kind_cells(items: Sequence[Sent]) -> tuple[object, ...]:
    codes = Counter(item.code for item in items if item.code != "ok")
    words = ", ".join(f"{code} {count}" for code, count in codes.most_common())
    wrong, slowest = sum(item.wrong for item in items), max(item.seconds for item in items)
    return len(items), wrong, len(items) - codes.total(), words, f"{slowest:.2f}"


def draw(axes: Any, memory: dict[str, list[Replica]]) -> None:
    names = [item.name for item in next(iter(memory.values()))]
    width = 0.8 / len(memory)
    for place, (part, replicas) in enumerate(memory.items()):
        peaks = {item.name: item.peak for item in replicas}
        at = [index + place * width for index in range(len(names))]
        axes.bar(at, [peaks[name] for name in names], width, label=part)
    axes.set_xticks([index + width for index in range(len(names))], names)
    axes.set_ylabel("the replica's peak RSS, MiB")
    axes.legend()


if __name__ == "__main__":
    main()
