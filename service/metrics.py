"""Every metric of the service, declared once. Units are in the names; labels are route templates, model names and
other small sets, never what a client wrote."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.gc_collector import GCCollector
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from contract import Capability
from service.engine.scheduler import Batch

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SHARES = tuple(i / 20 for i in range(21))


class Metrics:
    """The registry and its metrics. It is the engine's Observer too."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"amostra_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple, *labels: str) -> Histogram:
            return Histogram(f"amostra_{name}", text, labels, registry=registry, buckets=buckets)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"amostra_{name}", text, labels, registry=registry)

        self.requests = counter("requests", "Requests answered.", "route", "method", "status", "model")
        self.errors = counter("errors", "Requests that ended in an error, by its code.", "route", "code")
        self.cancelled = counter("cancelled_requests", "Requests whose client left before the answer.", "route")
        self.latency = histogram(
            "request_duration_seconds", "From the first byte in to the last byte out.", _FAST, "route", "model"
        )
        self.in_progress = gauge("requests_in_progress", "Requests under way.")
        self.queue_wait = histogram("queue_wait_seconds", "From a call's arrival to its batch.", _FAST, "model")
        self.queue_rows = gauge("queue_depth_rows", "Rows waiting for a batch.", "model")
        self.jobs = gauge("engine_jobs", "Jobs taken in and not ended.")
        self.batch_rows = histogram("batch_rows", "Rows of a batch, padding left out.", _ROWS, "model", "capability")
        self.step_time = histogram("step_duration_seconds", "Time of one batch.", _FAST, "model", "capability")
        self.padding = counter("padding_rows", "Rows computed only to fill a batch size.", "model", "capability")
        self.rows = counter("computed_rows", "Rows computed, padding left out.", "model", "capability")
        self.images = counter("images", "Images drawn, edited, denoised or restored.", "model", "task")
        self.tokens = counter("tokens_generated", "Tokens generated.", "model")
        self.prompt_tokens = counter("tokens_prompt", "Prompt tokens computed.", "model")
        self.first_token = histogram(
            "time_to_first_token_seconds", "From the request to its first token.", _FAST, "model"
        )
        self.inter_token = histogram("inter_token_seconds", "Between two tokens of a completion.", _FAST, "model")
        self.p_values = histogram("score_p_value", "Conformal p-values; uniform for normal data.", _SHARES, "model")
        self.model_info = gauge("model_info", "A model that serves.", "model", "version", "family", "provider")
        self.model_state = gauge("model_state", "1 for the state that a model is in.", "model", "version", "state")
        self.model_load = gauge("model_load_seconds", "How long loading took.", "model", "version")
        self.fallback = gauge("cpu_fallback", "1 where a GPU was asked for and the CPU runs.")

    def waited(self, model: Any, seconds: float) -> None:
        self.queue_wait.labels(model.id).observe(seconds)

    def batch(self, model: Any, batch: Batch, seconds: float, padding: int) -> None:
        capability = str(batch.pieces[0].work.call.capability)
        self.step_time.labels(model.id, capability).observe(seconds)
        if batch.prefill:
            self.prompt_tokens.labels(model.id).inc(batch.pieces[0].stop - batch.pieces[0].start)
            return
        self.batch_rows.labels(model.id, capability).observe(batch.rows)
        self.rows.labels(model.id, capability).inc(batch.rows)
        if padding:
            self.padding.labels(model.id, capability).inc(padding)

    def entry_changed(self, entry: Any, present: bool) -> None:
        """Keep the model gauges in step with the catalog."""
        for state in ("loading", "ready", "refused"):
            if present:
                self.model_state.labels(entry.name, entry.version, state).set(entry.state == state)
            else:
                self.model_state.remove(entry.name, entry.version, state)
        for labels in [k for k in self.model_info._metrics if k[:2] == (entry.name, entry.version)]:
            self.model_info.remove(*labels)
        if present and entry.model is not None:
            providers = entry.model.providers
            provider = providers.get(Capability.NEXT_TOKEN) or next(iter(providers.values()))
            self.model_info.labels(entry.name, entry.version, entry.model.manifest.family, provider).set(1)
            self.model_load.labels(entry.name, entry.version).set(entry.model.load_seconds)

    def render(self) -> bytes:
        """The exposition, in OpenMetrics with exemplars."""
        return generate_latest(self.registry)


class TokenTimer:
    """Times one completion's tokens; called where they are emitted."""

    def __init__(self, metrics: Metrics, model: str, exemplar: dict[str, str]) -> None:
        self._first = metrics.first_token.labels(model)
        self._between = metrics.inter_token.labels(model)
        self._exemplar = exemplar
        self._last = time.monotonic()
        self._started = False

    def __call__(self) -> None:
        now = time.monotonic()
        if self._started:
            self._between.observe(now - self._last)
        else:
            self._first.observe(now - self._last, self._exemplar)
            self._started = True
        self._last = now
