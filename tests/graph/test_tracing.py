"""Traces of the running graph, as its processes write them to files."""

import asyncio
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from graph.cluster.launch import RunningGraph
from graph.tracing import otlp
from tests.support.photos import FEW_PLAYERS, YAOMING, photo_bytes
from tests.support.waiting import TIMEOUT_S, wait_until

PARENT = "b7ad6b7169203331"
STAGES = ["align", "align", "compare", "decode", "decode", "detect", "detect"]
RECOGNIZED = ["recognize:arcface", "recognize:arcface"]


def spans(folder: Path, trace_id: str) -> list[dict[str, Any]]:
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines(True)]
    # A replica may be writing the last one.
    found = (json.loads(line) for line in lines if line.endswith("\n"))
    return [span for span in found if span["context"]["trace_id"] == f"0x{trace_id}"]


def written(folder: Path, trace_id: str, name: str) -> list[dict[str, Any]]:
    """The trace's spans; waits until one has this name."""

    def names() -> list[str]:
        return [span["name"] for span in spans(folder, trace_id)]

    wait_until(lambda: any(one.startswith(name) for one in names()), message=lambda: str(names()))
    return spans(folder, trace_id)


def traced_headers(trace_id: str, **headers: str) -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{PARENT}-01", **headers}


def pair() -> dict[str, bytes]:
    return {"source": photo_bytes(YAOMING), "target": photo_bytes(FEW_PLAYERS)}


def own(found: list[dict[str, Any]]) -> list[str]:
    """The names of the graph's own spans."""
    ours = {*STAGES, *RECOGNIZED}
    return sorted(span["name"] for span in found if span["name"] in ours)


def test_a_request_is_one_trace_across_all_stages(http: httpx.Client, traces_folder: Path) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = traced_headers(trace_id) | {"x-request-id": "traced-1"}
    answer = http.post("/v1/compare", files=pair(), headers=headers)
    assert answer.status_code == 200
    found = written(traces_folder, trace_id, "replica_handle_request Ingress")
    assert own(found) == sorted([*STAGES, *RECOGNIZED])
    by_id = {span["context"]["span_id"]: span for span in found}
    (root,) = (span for span in found if span["parent_id"] == f"0x{PARENT}")
    assert root["attributes"]["deployment"] == "Ingress"
    assert root["attributes"]["request_id"] == "traced-1"
    for span in found:
        if span["name"] in STAGES:
            assert by_id[span["parent_id"]] is root
            assert root["start_time"] <= span["start_time"] <= span["end_time"]
    name = "replica_handle_request Detector detect"
    (detecting,) = (span for span in found if span["name"] == name)
    assert detecting["attributes"]["request_id"] == "traced-1"


def test_requests_that_share_calls_have_a_whole_trace_each(
    running: RunningGraph, traces_folder: Path
) -> None:
    ids = [f"{number:032x}" for number in range(1, 9)]

    async def burst() -> list[int]:
        async with httpx.AsyncClient(base_url=running.url, timeout=TIMEOUT_S) as client:
            requests = [
                client.post("/v1/compare", files=pair(), headers=traced_headers(trace_id))
                for trace_id in ids
            ]
            return [answer.status_code for answer in await asyncio.gather(*requests)]

    assert set(asyncio.run(burst())) == {200}
    for trace_id in ids:
        found = written(traces_folder, trace_id, "replica_handle_request Ingress")
        assert own(found) == sorted([*STAGES, *RECOGNIZED])


def test_otlp_sends_spans_to_where_opentelemetrys_variables_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        provider = TracerProvider()
        for processor in otlp():
            provider.add_span_processor(processor)
        provider.get_tracer("tests").start_span("a stage").end()
        provider.shutdown()
        server.shutdown()
    ((path, body),) = received
    assert path == "/v1/traces"
    sent = ExportTraceServiceRequest.FromString(body)
    assert sent.resource_spans[0].scope_spans[0].spans[0].name == "a stage"


def test_a_request_that_does_not_ask_for_it_leaves_no_trace(
    http: httpx.Client, traces_folder: Path
) -> None:
    trace_id = "00000000000000000000000000000abc"
    for headers in {"x-request-id": "untraced"}, traced_headers(trace_id):
        assert http.post("/v1/compare", files=pair(), headers=headers).status_code == 200
    written(traces_folder, trace_id, "replica_handle_request Ingress")  # after those of the first
    assert "untraced" not in "".join(file.read_text() for file in traces_folder.glob("*.jsonl"))
