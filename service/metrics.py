"""Every metric of the service, declared once. Units are in the names; labels are route templates, model names and
other small sets, never what a client wrote."""

import threading
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from contract import Capability
from service.drift import Drift
from service.engine.batch import Batch
from service.engine.sequences import Progress
from service.entry import State

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_EXEMPLAR_SECONDS = 1.0
_NOTED = 256


@lru_cache(4096)
def _count(counter: Counter, *labels: str) -> Callable[[float], None]:
    """What adds to a counter under these labels; to look it up and to check the amount would take as long again."""
    return counter.labels(*labels)._value.inc


class _Part:
    """A histogram's part under some labels, which notes values and counts them later: a tenth of the time of `observe`."""

    def __init__(self, part: Any) -> None:
        self._place = partial(bisect_left, part._upper_bounds)
        self._buckets = [bucket.inc for bucket in part._buckets]
        self._add = part._sum.inc
        self._noted: deque[float] = deque()
        self._lock = threading.Lock()
        self.observe_with = part.observe
        self.exemplar_due = 0.0

    def observe(self, value: float) -> None:
        self._noted.append(value)
        if len(self._noted) >= _NOTED:
            self.count()

    def count(self) -> None:
        """Count what was noted."""
        with self._lock:  # others may note more meanwhile
            values = [self._noted.popleft() for _ in range(len(self._noted))]
            self._add(sum(values))
            for place, count in Counts(map(self._place, values)).items():
                self._buckets[place](count)


class _Histogram(Histogram):
    """A histogram that counts what its parts have noted when it is looked at."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._parts: dict[tuple[str, ...], _Part] = {}

    def part(self, *labels: str) -> _Part:
        """What notes values under these labels."""
        found = self._parts.get(labels)
        return self._parts.setdefault(labels, _Part(self.labels(*labels))) if found is None else found

    def collect(self) -> Iterable[Metric]:
        for part in list(self._parts.values()):
            part.count()
        return super().collect()


class Metrics:
    """The registry and its metrics. It is the engine's Observer too."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"amostra_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple, *labels: str) -> _Histogram:
            return _Histogram(f"amostra_{name}", text, labels, registry=registry, buckets=buckets)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"amostra_{name}", text, labels, registry=registry)

        self.requests = counter("requests", "Requests answered.", "route", "method", "status", "model")
        self.errors = counter("errors", "Requests that ended in an error, by its code.", "route", "code")
        self.cancelled = counter("cancelled_requests", "Requests whose client left before the answer.", "route")
        self.latency = histogram(
            "request_duration_seconds", "From the first byte in to the last byte out.", _FAST, "route", "model"
        )
        self.under_way = 0
        gauge("requests_in_progress", "Requests under way.").set_function(lambda: self.under_way)
        self.held = gauge("request_bytes", "What the bodies of requests under way, and the arrays made of them, take.")
        self.key_requests = counter("key_requests", "Requests by the id of their API key.", "key", "status")
        self.key_seconds = counter("key_compute_seconds", "Time of workers that a key's jobs had.", "key")
        self.queue_wait = histogram("queue_wait_seconds", "From a call's arrival to its batch.", _FAST, "model")
        self.queue_rows = gauge("queue_depth_rows", "Rows waiting for a batch.", "model")
        self.jobs = gauge("engine_jobs", "Jobs taken in and not ended.")
        self.batch_rows = histogram("batch_rows", "Rows of a batch, padding left out.", _ROWS, "model", "capability")
        self.step_time = histogram("step_duration_seconds", "Time of one batch.", _FAST, "model", "capability")
        self.encode_time = histogram(
            "encode_duration_seconds", "From a request's last result to the beginning of its answer.", _FAST, "route"
        )
        self.padding = counter("padding_rows", "Rows computed only to fill a batch size.", "model", "capability")
        self.rows = counter("computed_rows", "Rows computed, padding left out.", "model", "capability")
        self.images = counter("images", "Images drawn, edited, denoised or restored.", "model", "task")
        self.tokens = counter("tokens_generated", "Tokens generated.", "model")
        self.prompt_tokens = counter("tokens_prompt", "Prompt tokens computed.", "model")
        self.reused_tokens = counter(
            "tokens_prompt_reused", "Prompt tokens that an earlier prompt began with.", "model"
        )
        self.first_token_time = histogram(
            "time_to_first_token_seconds", "From the request to its first token.", _FAST, "model"
        )
        self.inter_token = histogram(
            "inter_token_seconds",
            "Between two tokens of a sequence; one observation for all that go on.",
            _FAST,
            "model",
        )
        self.drift = Drift()
        registry.register(self.drift)
        self.slow = counter("slow_clients", "Connections ended because a client was slow.", "part")
        self.hung = counter("hung_models", "Models that were refused because a batch of theirs did not end.", "model")
        self.lost_workers = gauge("lost_workers", "Threads that hang in a graph, and keep a core busy each.")
        self.batches = gauge("batches", "Batches that are remembered, by their state.", "status")
        self.batch_lines = counter("batch_lines", "Lines of batches, by what came of them.", "outcome")
        self.batch_bytes = gauge("batch_bytes", "What files, and answers that are not in one yet, take on the disk.")
        self.cache_hits = counter("result_cache_hits", "Requests answered from a kept result.", "model")
        self.cache_misses = counter("result_cache_misses", "Requests whose result was to be kept.", "model")
        self.cache_bytes = gauge("result_cache_bytes", "About what the kept results take in memory.")
        self.model_info = gauge("model_info", "A model that serves.", "model", "version", "family", "provider")
        self.model_state = gauge("model_state", "1 for the state that a model is in.", "model", "version", "state")
        self.model_load = gauge("model_load_seconds", "How long loading took.", "model", "version")
        self.model_bytes = gauge("model_memory_bytes", "About what a model takes in memory.", "model", "version")
        self.fallback = gauge("cpu_fallback", "1 where a GPU was asked for and the CPU runs.")

    def began(self) -> None:
        """A request came in."""
        self.under_way += 1

    def ended(self, route: str, method: str, code: int, model: str, seconds: float, trace: dict[str, str]) -> None:
        """A request is answered, or its client is gone. Some latencies carry the request's id as an exemplar."""
        self.under_way -= 1
        _count(self.requests, route, method, str(code), model)(1)
        latency, now = self.latency.part(route, model), time.monotonic()
        if now >= latency.exemplar_due:
            latency.exemplar_due = now + _EXEMPLAR_SECONDS
            latency.observe_with(seconds, trace)
        else:
            latency.observe(seconds)

    def drew(self, model: str, task: str, count: int) -> None:
        """Images are ready."""
        _count(self.images, model, task)(count)

    def encoded(self, route: str, seconds: float) -> None:
        """From a request's last result to the beginning of its answer."""
        self.encode_time.part(route).observe(seconds)

    def waited(self, model: Any, seconds: float, trace: dict[str, str] | None) -> None:
        self.queue_wait.part(model.id).observe(seconds)

    def batch(self, model: Any, batch: Batch, seconds: float, padding: int) -> None:
        capability = str(batch.works[0].call.capability)
        self.step_time.part(model.id, capability).observe(seconds)
        self.batch_rows.part(model.id, capability).observe(batch.rows)
        _count(self.rows, model.id, capability)(batch.rows)
        if padding:
            _count(self.padding, model.id, capability)(padding)

    def sequences(self, model: Any, batch: Batch, progress: Progress, seconds: float) -> None:
        capability = str(batch.works[0].call.capability)
        _count(self.tokens, model.id)(progress.tokens)
        if batch.prompt is not None:
            _count(self.prompt_tokens, model.id)(progress.prompt_tokens)
            _count(self.reused_tokens, model.id)(progress.reused_tokens)
            self.step_time.part(model.id, capability).observe(seconds)
            return
        self.step_time.part(model.id, capability).observe(seconds / progress.steps)
        self.inter_token.part(model.id).observe(seconds / progress.steps)
        self.batch_rows.part(model.id, capability).observe(len(batch.live))
        _count(self.rows, model.id, capability)(len(batch.live) * progress.steps)

    def first_token(self, model: Any, seconds: float, trace: dict[str, str] | None) -> None:
        self.first_token_time.part(model.id).observe_with(seconds, trace)

    def entry_changed(self, entry: Any, present: bool) -> None:
        """Keep the model gauges in step with the catalog."""
        for state in get_args(State):
            if present:
                self.model_state.labels(entry.name, entry.version, state).set(entry.state == state)
            else:
                self.model_state.remove(entry.name, entry.version, state)
        if not present:
            self.drift.forget(entry.name, entry.version)
        for labels in [k for k in self.model_info._metrics if k[:2] == (entry.name, entry.version)]:
            self.model_info.remove(*labels)
        if present and entry.model is not None:
            providers = entry.model.providers
            provider = providers.get(Capability.NEXT_TOKEN) or next(iter(providers.values()))
            self.model_info.labels(entry.name, entry.version, entry.model.manifest.family, provider).set(1)
            self.model_load.labels(entry.name, entry.version).set(entry.model.load_seconds)
        self.model_bytes.labels(entry.name, entry.version).set(entry.bytes if present and entry.model else 0)

    def render(self) -> bytes:
        """The exposition, in OpenMetrics with exemplars."""
        return generate_latest(self.registry)
