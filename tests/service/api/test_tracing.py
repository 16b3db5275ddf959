"""Traces: a request's spans hang together, go on with the client's trace, and reach a collector."""

import http.server
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id

from service.tracing import Tracing, to_collector
from tests.service.api.client import Api, b64, png

GENERATE, COMPLETE = "/v1/images/generations", "/v1/completions"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
COMES_WITH = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(make_api: Callable[..., Api], exporter: InMemorySpanExporter) -> Api:
    return make_api(tracing=Tracing(SimpleSpanProcessor(exporter)))


def spans_of(exporter: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def test_a_request_goes_on_with_the_clients_trace_and_hands_it_on(traced: Api, exporter: InMemorySpanExporter) -> None:
    answer = traced.post(GENERATE, json={"n": 3}, headers=COMES_WITH)
    spans = spans_of(exporter)
    (request,) = spans[f"POST {GENERATE}"]
    assert format_trace_id(request.context.trace_id) == TRACE
    assert request.parent is not None
    assert format_span_id(request.parent.span_id) == PARENT
    assert answer.headers["traceparent"] == f"00-{TRACE}-{format_span_id(request.context.span_id)}-01"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["amostra.model"] == "mnist-gan"
    assert request.attributes["amostra.request_id"] == answer.headers["x-request-id"]
    for name in ("queue", "decode", "encode"):
        for span in spans[name]:
            assert span.parent.span_id == request.context.span_id, name
            assert request.start_time <= span.start_time <= span.end_time <= request.end_time
    assert sum(span.attributes["amostra.rows"] for span in spans["decode"]) == 3


def test_every_step_of_a_diffusion_has_a_span(traced: Api, exporter: InMemorySpanExporter) -> None:
    ask = {"model": "mnist-diffusion", "steps": 5, "sampler": "euler", "guidance": 1.0}
    assert traced.post(GENERATE, json=ask).status_code == 200
    assert len(spans_of(exporter)["denoise_step"]) == 5


def test_of_a_text_its_prompt_and_its_steps(traced: Api, exporter: InMemorySpanExporter) -> None:
    assert traced.post(COMPLETE, json={"prompt": "To be, or not", "max_tokens": 9}).status_code == 200
    spans = spans_of(exporter)
    assert sum(span.attributes["amostra.prompt_tokens"] for span in spans["prefill"]) == 14
    assert sum(span.attributes["amostra.steps"] for span in spans["decode"]) == 8


def test_an_error_is_named_and_only_ours_is_a_failure(traced: Api, exporter: InMemorySpanExporter) -> None:
    traced.post(GENERATE, json={"n": 0})
    (request,) = exporter.get_finished_spans()
    assert request.attributes["error.type"] == "invalid"
    assert request.status.status_code is StatusCode.UNSET
    assert request.attributes["http.response.status_code"] == 422


def test_what_a_client_sent_is_in_no_span(traced: Api, exporter: InMemorySpanExporter) -> None:
    traced.post(COMPLETE, json={"prompt": "secret", "max_tokens": 3})
    image = np.zeros((1, 8, 8), np.float32)
    traced.post("/v1/images/denoise", json={"image": b64(png(image))})
    for span in exporter.get_finished_spans():
        assert "secret" not in str(span.attributes)
        assert b64(png(image)) not in str(span.attributes)


def test_a_trace_that_the_client_does_not_record_is_not_recorded(traced: Api, exporter: InMemorySpanExporter) -> None:
    answer = traced.post(GENERATE, json={}, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert exporter.get_finished_spans() == ()
    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")


def test_metrics_point_to_the_trace(traced: Api) -> None:
    traced.post(GENERATE, json={}, headers=COMES_WITH)
    assert f'trace_id="{TRACE}"' in traced.get("/metrics").text


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP receiver: its address, and what it was sent."""
    received: list[ExportTraceServiceRequest] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest()
            sent.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            received.append(sent)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()


def test_a_collector_gets_them(
    make_api: Callable[..., Api],
    collector: tuple[str, list[ExportTraceServiceRequest]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, received = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "amostra-test")
    tracing = to_collector()
    assert make_api(tracing=tracing).post(GENERATE, json={}).status_code == 200
    tracing.stop()
    (resource,) = {str(r.resource) for sent in received for r in sent.resource_spans}
    assert "amostra-test" in resource
    names = {s.name for sent in received for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans}
    assert names >= {f"POST {GENERATE}", "queue", "decode", "encode"}
