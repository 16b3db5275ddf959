"""Spans of every request, by OpenTelemetry: the request itself, its waiting, each batch that had a part of it, the encoding.

Off by default, and then nothing of it is imported. `AMOSTRA_TRACING=true` sends spans as OTLP over HTTP to where the
standard variables say: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and the others. A request that
comes with a W3C `traceparent` goes on with that trace.
"""

import os
import time
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.engine.batch import Batch
from service.engine.sequences import Progress
from service.engine.ticket import Observer

_PROPAGATOR = TraceContextTextMapPropagator()


class TracingError(RuntimeError):
    """Tracing was asked for and its exporter is not installed."""


class Tracing:
    """Makes spans and gives them to a processor."""

    def __init__(self, processor: SpanProcessor) -> None:
        resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "amostra")})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("amostra")
        self._open: dict[str, tuple[Span, Context]] = {}  # by the request's id

    def begin(self, request_id: str, method: str, headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
        """A request came in. Returns the headers that hand its trace on."""
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        span = self._tracer.start_span(method, _PROPAGATOR.extract(carrier), SpanKind.SERVER)
        assert isinstance(span, Span) or not span.is_recording()
        context = set_span_in_context(span)
        handed: dict[str, str] = {}
        _PROPAGATOR.inject(handed, context)
        if span.is_recording():
            self._open[request_id] = span, context  # type: ignore[assignment]
        return handed

    def end(self, request_id: str, route: str, method: str, code: int, model: str, error: str | None) -> None:
        """A request is answered, or its client is gone."""
        span, _ = self._open.pop(request_id, (None, None))
        if span is None:
            return
        span.update_name(f"{method} {route}")
        span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": code,
                "amostra.model": model,
                "amostra.request_id": request_id,
            }
        )
        if error is not None:
            span.set_attribute("error.type", error)
        if code >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def trace_id(self, request_id: str) -> str | None:
        """Of a request under way whose spans are kept."""
        found = self._open.get(request_id)
        return format_trace_id(found[0].get_span_context().trace_id) if found else None

    def part(self, request_id: str, name: str, seconds: float, **attributes: Any) -> None:
        """Something that was done for a request, and has ended now."""
        found = self._open.get(request_id)
        if found is None:
            return
        now = time.time_ns()
        span = self._tracer.start_span(name, found[1], start_time=now - int(seconds * 1e9), attributes=attributes)
        span.end(now)

    def stop(self) -> None:
        """Send what was not sent yet."""
        self._provider.shutdown()


class TracedEngine:
    """An observer of the engine that makes spans of what it sees and tells another one."""

    def __init__(self, tracing: Tracing, observer: Observer) -> None:
        self._tracing = tracing
        self._observer = observer

    def waited(self, model: Any, seconds: float, trace: dict[str, str] | None) -> None:
        self._observer.waited(model, seconds, trace)
        if trace:
            self._tracing.part(trace["request_id"], "queue", seconds, **{"amostra.model": model.id})

    def batch(self, model: Any, batch: Batch, seconds: float, padding: int) -> None:
        self._observer.batch(model, batch, seconds, padding)
        for piece in batch.pieces:
            rows = {"amostra.rows": piece.stop - piece.start, "amostra.batch_rows": batch.rows}
            self._of(model, piece.work.owner.trace, str(piece.work.call.capability), seconds, **rows)

    def sequences(self, model: Any, batch: Batch, progress: Progress, seconds: float) -> None:
        self._observer.sequences(model, batch, progress, seconds)
        what = {"amostra.batch_rows": batch.rows}
        if batch.prompt is not None:
            tokens = {"amostra.prompt_tokens": progress.prompt_tokens, "amostra.reused_tokens": progress.reused_tokens}
            self._of(model, batch.prompt.owner.trace, "prefill", seconds, **what, **tokens)
            return
        for work in batch.live:
            self._of(model, work.owner.trace, "decode", seconds, **what, **{"amostra.steps": progress.steps})

    def first_token(self, model: Any, seconds: float, trace: dict[str, str] | None) -> None:
        self._observer.first_token(model, seconds, trace)

    def _of(self, model: Any, trace: dict[str, str] | None, name: str, seconds: float, **attributes: Any) -> None:
        if trace:
            self._tracing.part(trace["request_id"], name, seconds, **{"amostra.model": model.id}, **attributes)


def to_collector() -> Tracing:
    """Spans go to a collector, in batches, from a thread of their own. Raises TracingError."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise TracingError("AMOSTRA_TRACING=true needs the exporter: pip install 'amostra[tracing]'") from error
    return Tracing(BatchSpanProcessor(OTLPSpanExporter()))
