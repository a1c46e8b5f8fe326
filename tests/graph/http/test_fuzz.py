"""Fuzz test of the running graph, with 250 of the damaged requests of `make fuzz`."""

import asyncio
from collections.abc import Sequence

import httpx
import ray

from graph.cluster.launch import RunningGraph
from tests.support.fuzzing.cases import Case, case
from tests.support.fuzzing.verdict import code_of, is_wrong
from tests.support.waiting import TIMEOUT_S

SEEDS = range(1_000_000, 1_000_250)
CLIENTS = 8


def replicas(app_name: str) -> set[str]:
    names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    return {name for name in names if name.startswith(f"SERVE_REPLICA::{app_name}#")}


async def answer(session: httpx.AsyncClient, sent: Case) -> httpx.Response:
    """Send a case; fail with its name if no answer comes."""
    try:
        return await sent.send(session)
    except httpx.HTTPError as error:
        raise AssertionError(f"{sent.kind}, seed {sent.seed}: {error!r}") from error


async def send_all(url: str, cases: Sequence[Case]) -> list[tuple[Case, str]]:
    waiting, codes = iter(cases), list[tuple[Case, str]]()

    async def client() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as session:
            for sent in waiting:
                codes.append((sent, code_of(await answer(session, sent))))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return codes


def test_damaged_requests_get_documented_codes_and_kill_no_replica(
    running: RunningGraph, http: httpx.Client
) -> None:
    before = replicas(running.app_name)
    codes = asyncio.run(send_all(running.url, [case(seed) for seed in SEEDS]))
    assert len(codes) == len(SEEDS)
    wrong = [(sent.kind, sent.seed, code) for sent, code in codes if is_wrong(code)]
    assert wrong == []
    assert len({code for _, code in codes}) >= 6  # the cases reach far into the graph
    assert before <= replicas(running.app_name)
    assert http.get("/readyz").status_code == 200
