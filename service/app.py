"""The BentoML service: life cycle, readiness and configuration. Our ASGI application is mounted in it.

    bentoml serve service.app:Amostra --port 3000

BentoML's own metrics, access log, tracing and batching stay off: the first three cost more CPU than the rest of a
request, and the engine does the batching.
"""

import gc
import os
import sys
from typing import TYPE_CHECKING

# BentoML prepares prometheus_client for several processes; we are one, and want exemplars and process metrics.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

import bentoml
from _bentoml_sdk import Service
from starlette.types import ASGIApp, Receive, Scope, Send

from service import gpu, heads, logs
from service.api.app import Application
from service.api.state import State
from service.catalog import Catalog
from service.engine.loop import Engine
from service.engine.ticket import Model, Observer
from service.keys import Keys
from service.metrics import Metrics
from service.patience import Patience
from service.providers import find_device
from service.settings import load_settings
from service.signing import Verifier
from service.stopping import end_with_parent, server_here

if TYPE_CHECKING:
    from service.batches.desk import Desk
    from service.tracing import Tracing


_OURS = ("/v1/", "/v2/", "/playground")


class Direct(Service):
    """A BentoML service whose requests for the API and the playground go straight to our application.

    BentoML's router and its middlewares for timeouts, tracing and context cost as much as all of ours, and have nothing to
    do there. Life cycle, readiness and everything else stay with it.
    """

    __slots__ = ()

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        framework = super().to_asgi(is_main)

        async def entrance(scope: Scope, receive: Receive, send: Send) -> None:
            ours = scope["type"] == "http" and (scope["path"] == "/" or scope["path"].startswith(_OURS))
            await (asgi.entrance if ours else framework)(scope, receive, send)

        entrance.router = framework.router  # type: ignore[attr-defined]
        return entrance


def end_now() -> None:
    """The event loop hangs in a graph, and nothing else can be done in this process: end it, to be started again.

    Signals are handled on that thread too, and those who supervise look at a process's end rather than at its silence.
    """
    os._exit(1)


settings = load_settings()
logs.configure(settings.log_format)
metrics = Metrics()
asgi = Application(metrics)


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
        if settings.public_key is not None:
            Verifier(settings.public_key)  # a key that is none is noticed now
        device = find_device(settings.provider)
        metrics.fallback.set(settings.provider != "cpu" and device == "cpu")
        if device == "cuda":
            gpu.watch(metrics.registry)
        self.tracing: Tracing | None = None
        observer: Observer = metrics
        if settings.tracing:
            from service.tracing import TracedEngine, to_collector

            self.tracing = to_collector()
            observer = TracedEngine(self.tracing, metrics)
        self.catalog = Catalog(settings, device, on_change=metrics.entry_changed)
        self.engine = Engine(
            settings.workers,
            settings.limits,
            queue_seconds=settings.queue_seconds,
            queue_requests=settings.queue_requests,
            hang_seconds=settings.hang_seconds,
            shares=settings.shares,
            pinned=settings.pin_workers and device == "cpu",
            observer=observer,
            on_hang=self.refuse,
            on_stuck=end_now,
        )
        metrics.lost_workers.set_function(lambda: self.engine.lost)
        keys = Keys(settings.keys_file) if settings.keys_file else None
        self.desk: Desk | None = None
        if settings.batch_dir is not None:
            from service.batches import desk

            self.desk = desk.Desk(settings.batch_dir, settings, asgi, metrics, self.engine.calm, keys)
        asgi.state.service = State(settings, self.engine, self.catalog, metrics, keys, self.tracing, self.desk)
        self.engine.start()
        self.catalog.start()
        if self.desk is not None:
            self.desk.start()
        server = server_here()
        if server is not None:
            heads.bound(server)
            Patience(server, settings.slow_client_seconds, lambda part: metrics.slow.labels(part).inc()).start()
        halt = self.desk.halt if self.desk is not None else lambda: None
        asgi.stopping.take_over(settings.drain_seconds, lambda: metrics.under_way, self.engine.stop, halt)
        if bentoml.server_context.worker_index is not None:
            # A supervisor that is killed ends nobody: its worker would go on, on an address that no other can then have.
            end_with_parent()
        # Start-up garbage never becomes younger: collections look at requests only. These leave no circles behind
        # (tests/service/api/test_garbage.py), so there is next to nothing to find.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 5, 5)
        # A worker in the middle of Python's work gives way to the event loop after this, ten times as soon as by default.
        sys.setswitchinterval(0.0005)

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Stop after the batches in flight."""
        if self.desk is not None:
            self.desk.close()
        self.catalog.stop()
        self.engine.stop()
        if self.tracing is not None:
            self.tracing.stop()

    def refuse(self, model: Model, why: str) -> None:
        """A model hangs."""
        metrics.hung.labels(model.id).inc()
        self.catalog.refuse(model, why)

    async def __is_alive__(self) -> bool:
        """Whether there is a core left that no thread hangs on; if not, a restart is the only help."""
        return self.engine.lost < settings.workers

    async def __is_ready__(self) -> bool:
        return self.catalog.ready() and not asgi.stopping.begun


Amostra.__class__ = Direct  # type: ignore[method-assign]
