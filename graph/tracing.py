"""OpenTelemetry traces, off unless the configuration file's `tracing_config` turns them on.

Serve makes a span for each HTTP request and for each call between replicas, and hands the trace on.
Direct calls of the aligner and the aggregator, which requests may share, are traces of their own:
so the ingress adds, from what every answer tells of its stages, one span for each stage and photo
to the request's trace.

`otlp` and `json_lines` are what `exporter_import_path` may name.
"""

import os
import time
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)

from configs.environment import traces_folder
from deployments.errors import InvalidConfig
from graph.schemas import CompareResponse, DetectResponse, EmbedResponse, Timing

Told = TypeVar("Told", DetectResponse, EmbedResponse, CompareResponse)

_NANOSECONDS = 1_000_000_000


def otlp() -> list[SpanProcessor]:
    """By OTLP over HTTP, as OpenTelemetry's own OTEL_EXPORTER_OTLP_* variables say.

    Raises InvalidConfig where the extra `tracing` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise InvalidConfig(
            "tracing_config: graph.tracing:otlp needs pip install 'facegraph[tracing]'"
        ) from error
    return [BatchSpanProcessor(OTLPSpanExporter())]


def json_lines() -> list[SpanProcessor]:
    """To files in `FACEGRAPH_TRACES`, one for each process and one line for each span: to try
    tracing out, on one machine."""
    folder = traces_folder()
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"{os.getpid()}.jsonl").open("a")
    return [SimpleSpanProcessor(ConsoleSpanExporter(out=file, formatter=_line))]


async def traced(answering: Awaitable[Told]) -> Told:
    """The answer; its stages' times become spans in the trace of the request under way, if it is
    traced."""
    started_at = time.time()
    answer = await answering
    _trace_stages(answer.timings, started_at)
    return answer


def _trace_stages(timings: Iterable[Timing], started_at: float) -> None:
    if not trace.get_current_span().is_recording():
        return
    tracer = trace.get_tracer("facegraph")
    for timing in timings:
        start_s = started_at + timing.start_ms / 1000
        span = tracer.start_span(timing.stage, start_time=int(start_s * _NANOSECONDS))
        if timing.image:
            span.set_attribute("facegraph.image", timing.image)
        span.end(int((start_s + timing.duration_ms / 1000) * _NANOSECONDS))


def _line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"
