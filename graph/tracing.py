"""OpenTelemetry traces, which `tracing_config` in the configuration file turns on.

Serve makes a span for each HTTP request and for each call between replicas, and passes the trace
on. But a call that requests share has a trace of its own. Therefore the ingress adds a span
for each stage and photo to the request's trace, from the timings in the answer.

`exporter_import_path` may name `otlp` or `json_lines`.
"""

import os
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol, TypeVar

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)

from configs.environment import traces_folder
from configs.extras import install_command
from deployments.errors import InvalidConfig
from graph.schemas import Timing


class TimedResponse(Protocol):
    """A response with the times of the stages that computed it."""

    @property
    def timings(self) -> Sequence[Timing]: ...


Response = TypeVar("Response", bound=TimedResponse)

_NS_PER_S = 1_000_000_000


def otlp() -> list[SpanProcessor]:
    """Export by OTLP over HTTP, as OpenTelemetry's OTEL_EXPORTER_OTLP_* variables configure it.

    Raises InvalidConfig if the extra `tracing` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise InvalidConfig(
            f"tracing_config: graph.tracing:otlp needs {install_command('tracing')}"
        ) from error
    return [BatchSpanProcessor(OTLPSpanExporter())]


def json_lines() -> list[SpanProcessor]:
    """Export to files in the folder `FACEGRAPH_TRACES`, to try tracing out on one machine.

    Each process has a file, with one line of JSON per span.
    """
    folder = traces_folder()
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"{os.getpid()}.jsonl").open("a")
    return [SimpleSpanProcessor(ConsoleSpanExporter(out=file, formatter=_line))]


async def traced(answering: Awaitable[Response]) -> Response:
    """Await an answer and add its stages' timings to the current request's trace, if it has one."""
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
        span = tracer.start_span(timing.stage, start_time=int(start_s * _NS_PER_S))
        if timing.image:
            span.set_attribute("facegraph.image", timing.image)
        span.end(int((start_s + timing.duration_ms / 1000) * _NS_PER_S))


def _line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"
