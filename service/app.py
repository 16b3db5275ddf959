"""The BentoML service: life cycle, readiness and configuration. Our ASGI application is mounted in it.

    bentoml serve service.app:Amostra --port 3000

BentoML's own metrics, access log, tracing and batching stay off: the first three cost more CPU than the rest of a
request, and the engine does the batching.
"""

import gc
import logging
import os

# BentoML prepares prometheus_client for several processes; we are one, and want exemplars and process metrics.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

import bentoml

from service.api.app import create_app
from service.api.state import State
from service.catalog import Catalog
from service.engine.loop import Engine
from service.loading import find_device
from service.metrics import Metrics
from service.settings import load_settings

logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
logging.getLogger("amostra").setLevel(logging.INFO)

settings = load_settings()
metrics = Metrics()
asgi = create_app(metrics)


@bentoml.service(
    name="amostra",
    workers=1,
    # Ours comes first, with an answer; this one is for what we overlook.
    traffic={"timeout": int(settings.request_timeout_seconds) + 30},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(asgi, path="/")
class Amostra:
    """Serves every model of the store."""

    @bentoml.on_startup
    def start(self) -> None:
        """Start the engine, and load the models in the background."""
        device = find_device(settings.provider)
        metrics.fallback.set(settings.provider != "cpu" and device == "cpu")
        self.engine = Engine(
            settings.workers,
            max_rows=settings.max_batch_rows,
            max_elements=settings.max_batch_elements,
            prefill_chunk=settings.prefill_chunk,
            queue_seconds=settings.queue_seconds,
            queue_requests=settings.queue_requests,
            observer=metrics,
        )
        self.catalog = Catalog(settings, device, on_change=metrics.entry_changed)
        asgi.state.service = State(settings, self.engine, self.catalog, metrics)
        self.engine.start()
        self.catalog.start()
        # Start-up garbage never becomes younger: collections look at requests only.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 1000)

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Stop after the batches in flight."""
        self.catalog.stop()
        self.engine.stop()

    async def __is_ready__(self) -> bool:
        return self.catalog.ready()
