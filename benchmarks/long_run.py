"""Mixed traffic for a long time, while random processes are killed: python -m benchmarks.long_run

`facegraph serve`, with --clusters 2 on two Ray clusters, runs as a command with two ingress
replicas and a file of API keys. Its clients compare, embed and detect, send photos of 12 megapixels
and files that are no photos, and leave before the answer. Every answer is compared with the right
one. Meanwhile

- a random process of the graph, of Serve or of Ray is killed with SIGKILL, 20 s after the one
  before, or once all clusters are ready again, if that takes longer;
- every 30 s the file of keys is written anew;
- every 120 s the graph is redeployed with another threshold of the recognizer.

`failed` counts requests that got another status than the expected one, or none; `away` is the
longest time between two right answers.
"""

import argparse
import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import yaml

from benchmarks.harness.load import (
    CONFIG,
    Post,
    Request,
    compare_request,
    connection,
    longest_gap_s,
    photo_640,
    post_of,
    with_answers,
)
from benchmarks.harness.processes import Process, descendants, rss_mib
from benchmarks.harness.results import report
from benchmarks.supervision import FRONT, PAUSE_S, Command, command
from deployments.errors import FaceGraphError
from graph.client.cluster import join_cluster
from graph.cluster.launch import deploy, with_port
from graph.cluster.serve_file import read_serve_file
from tests.support.load import Load, Outcome, Sent
from tests.support.photos import photo

CLIENTS = 8
KILL_EVERY_S, KEYS_EVERY_S, REDEPLOY_EVERY_S = 20.0, 30.0, 120.0
REDEPLOYED_S = 60.0
# Seconds after which a killed process ends the benchmark if all is not well again.
LONGEST_S = 180.0
SETTLED_S = 30.0
# One in so many requests is left by its client, after a part of a second.
LEFT_EVERY, LEFT_AFTER_S = 10, 0.2
KEYS = ("0" * 64, "1" * 64)
THRESHOLDS = (0.35, 0.3)
# Restarts at once, however many: here a cluster lives for minutes.
OPTIONS = ("--max-restarts", "100000", "--restart-delay", "0", "--healthy-after", "0")
COLUMNS = ("killed", "times", "restarts", "sent", "failed", "wrong", "longest ms", "away s")


@dataclass(frozen=True)
class Kill:
    """A killed process: its title, the time of `time.perf_counter`, and whether the command
    started another cluster before the next kill."""

    title: str
    at: float
    restarted: bool


def mixture() -> list[Request]:
    man, group = photo_640("yaoming.jpg"), photo_640("gdp.jpg")
    return [
        compare_request(man, group),
        compare_request(man, man),
        post_of("/v1/embed", {"image": man}),
        post_of("/v1/detect", {"image": man}),
        post_of("/v1/embed", {"image": large_photo()}),
        compare_request(group, photo_640("players.jpg")),
    ]


def large_photo() -> bytes:
    """A photo of 12 megapixels."""
    pixels = cv2.resize(photo("yaoming.jpg"), (3000, 4000), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


def wrong_requests() -> list[Request]:
    return [
        post_of("/v1/detect", {"image": b"no photo"}, status=422),
        post_of("/v1/embed", {"image": photo_640("yaoming.jpg")[:300]}, status=422),
        post_of("/v1/compare", {"source": photo_640("yaoming.jpg")}, status=400),
    ]


def load_of(post: Post, requests: Sequence[Request]) -> Load:
    """Clients that take the requests in a cycle, leave some, and wait after a failure."""

    async def send(client: int, turn: int) -> Outcome:
        request = requests[(client + turn) % len(requests)]
        if turn % LEFT_EVERY == LEFT_EVERY - 1:
            try:
                return await asyncio.wait_for(post(request), LEFT_AFTER_S)
            except asyncio.TimeoutError:
                return Outcome(request.status)
        outcome = await post(request)
        if outcome.status != request.status:
            await asyncio.sleep(PAUSE_S)
            what = f"{request.path} of {len(request.body) >> 10} KiB"
            return replace(outcome, failure=f"{what}: {outcome.status} {outcome.failure}")
        return outcome

    return Load(send)


class LongRun:
    def __init__(self, served: Command, load: Load, content: dict[str, Any], keys: Path) -> None:
        self._served = served
        self._load = load
        self._content = with_port(content, int(served.url.rpartition(":")[2]))
        self._keys = keys
        self.kills: list[Kill] = []

    async def run(self, seconds: float) -> None:
        others = [
            asyncio.create_task(self._write_keys()),
            asyncio.create_task(self._redeploy()),
        ]
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            await self._kill_one()
        for task in others:
            task.cancel()

    async def _kill_one(self) -> None:
        process = random.choice(self.processes())
        restarts, began = self._served.restarts(), time.perf_counter()
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        await asyncio.sleep(KILL_EVERY_S)
        while not (self._served.is_whole() and self._answers_since(began + KILL_EVERY_S - 1)):
            if time.perf_counter() > began + LONGEST_S:
                raise TimeoutError(f"not well {LONGEST_S:.0f} s after {process.title} was killed")
            await asyncio.sleep(0.1)
        is_front = process.parent == self._served.pid and process.title == "haproxy"
        title = FRONT if is_front else process.title
        self.kills.append(Kill(title, began, self._served.restarts() > restarts))
        print(title, self.kills[-1].restarted, flush=True)

    def _answers_since(self, moment: float) -> bool:
        return any(one.began > moment and one.outcome.right for one in self._load.sent[-200:])

    def processes(self) -> list[Process]:
        """All processes of the graph; not the command, which nothing starts again."""
        return descendants(self._served.pid)

    async def _write_keys(self) -> None:
        while True:
            await asyncio.sleep(KEYS_EVERY_S)
            names = random.sample(("one", "two"), random.randint(1, 2))
            draft = self._keys.with_suffix(".new")
            draft.write_text(yaml.safe_dump(dict(zip(names, KEYS, strict=False))))
            draft.replace(self._keys)

    async def _redeploy(self) -> None:
        while True:
            for threshold in THRESHOLDS[::-1]:
                await asyncio.sleep(REDEPLOY_EVERY_S)
                content = deepcopy(self._content)
                pool = content["applications"][0]["args"]["recognizers"]["arcface"]
                pool["threshold"] = threshold
                for address in self._served.addresses():
                    await redeploy(address, content)


async def redeploy(address: str, content: dict[str, Any]) -> None:
    """In a process of its own, which Ray may end."""
    process = get_context("spawn").Process(target=_redeploy, args=(address, content))
    process.start()
    await asyncio.to_thread(process.join, REDEPLOYED_S)
    process.kill()  # if the cluster has ended meanwhile


def _redeploy(address: str, content: dict[str, Any]) -> None:
    with suppress(FaceGraphError):  # the cluster has ended meanwhile
        join_cluster(address)
        deploy(content)


def by_kill(
    kills: Sequence[Kill], sent: Sequence[Sent], ended: float
) -> list[tuple[Kill, list[Sent]]]:
    """Each kill with the requests that ended between it and the next one."""
    ends = [*(kill.at for kill in kills[1:]), ended]
    return [
        (kill, [one for one in sent if kill.at < one.ended <= end])
        for kill, end in zip(kills, ends, strict=True)
    ]


def rows(kills: Sequence[Kill], sent: Sequence[Sent], ended: float) -> list[tuple[object, ...]]:
    """A row for each title of killed processes, and one for all."""
    pairs = by_kill(kills, sent, ended)
    grouped: dict[str, list[tuple[Kill, list[Sent]]]] = defaultdict(list)
    for kill, some in pairs:
        grouped[kill.title].append((kill, some))
    found = [(title, *_figures(same)) for title, same in sorted(grouped.items())]
    return [*found, ("all", *_figures(pairs))]


def each(kills: Sequence[Kill], sent: Sequence[Sent], ended: float) -> list[dict[str, object]]:
    """The figures of each kill by its time, in s since the first request."""
    return [
        {"s": round(kill.at - sent[0].began, 1), "killed": kill.title}
        | dict(zip(COLUMNS[2:], _figures([(kill, some)])[1:], strict=True))
        for kill, some in by_kill(kills, sent, ended)
    ]


def _figures(pairs: Sequence[tuple[Kill, Sequence[Sent]]]) -> tuple[object, ...]:
    sent = [one for _, some in pairs for one in some]
    return (
        len(pairs),
        sum(kill.restarted for kill, _ in pairs),
        len(sent),
        sum(bool(one.outcome.failure) for one in sent),
        sum(one.outcome.right is False for one in sent),
        f"{max((one.latency_s for one in sent), default=0) * 1000:.0f}",
        f"{max((_away_s(kill, some) for kill, some in pairs), default=0):.1f}",
    )


def _away_s(kill: Kill, sent: Sequence[Sent]) -> float:
    return longest_gap_s(kill.at, (one.ended for one in sent if one.outcome.right))


async def measured(served: Command, content: dict[str, Any], keys: Path, minutes: float) -> None:
    right = await with_answers(served.url, mixture())
    async with connection(served.url, CLIENTS) as post:
        load = load_of(post, [*right, *wrong_requests()])
        running = asyncio.create_task(load.run(CLIENTS))
        await asyncio.sleep(SETTLED_S)
        run = LongRun(served, load, content, keys)
        before = rss_mib(run.processes())
        await run.run(60 * minutes)
        await asyncio.sleep(SETTLED_S)
        after = rss_mib(run.processes())
        load.end()
        await running
    show(run.kills, load.sent, {"MiB before": before, "MiB after": after}, served.clusters)


def show(
    kills: Sequence[Kill], sent: Sequence[Sent], memory: dict[str, Any], clusters: int
) -> None:
    def draw(axes: Any) -> None:
        begin = sent[0].began
        axes.plot([one.ended - begin for one in sent], [one.latency_s for one in sent], ".", ms=1)
        for kill in kills:
            axes.axvline(kill.at - begin, lw=0.3, c="tab:red" if kill.restarted else "tab:gray")
        axes.set(xlabel="s", ylabel="s until the answer", yscale="log")

    totals = {when: f"{sum(parts.values()):.0f}" for when, parts in memory.items()}
    print(totals)
    failures = Counter(one.outcome.failure[:120] for one in sent if one.outcome.failure)
    ended = max(one.ended for one in sent)
    raw = memory | {"failures": failures.most_common(50), "kills": each(kills, sent, ended)}
    title = f"Mixed requests of {CLIENTS} clients while {len(kills)} processes are killed"
    title += f"; {clusters} cluster(s)"
    name = "long_run" if clusters == 1 else f"long_run_{clusters}_clusters"
    report(name, title, COLUMNS, rows(kills, sent, ended), draw=draw, raw=raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--clusters", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of processes")
    options = parser.parse_args()
    random.seed(options.seed)
    with TemporaryDirectory() as name:
        folder = Path(name)
        keys, config = folder / "keys.yaml", folder / "serve_config.yaml"
        keys.write_text(yaml.safe_dump({"one": KEYS[0]}))
        content = read_serve_file(CONFIG)
        content["applications"][0]["args"]["access"] = {"keys_file": str(keys), "anonymous": True}
        config.write_text(yaml.safe_dump(content))
        with command(config, folder / "log", *OPTIONS, clusters=options.clusters) as served:
            served.wait_ready()
            try:
                asyncio.run(measured(served, content, keys, options.minutes))
            finally:
                print(*served.lines(".*(?:ended|again|not ready|failed).*"), sep="\n")


if __name__ == "__main__":
    main()
