"""Our stack without its engine: mounted in BentoML as the service is, behind its middleware, answering with the body."""

import gc
import os
from types import SimpleNamespace

os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

import bentoml
from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.middleware import Middleware
from starlette.routing import Route

from benchmarks.echoes.starlette import echo
from service.api.middleware import RequestMiddleware
from service.metrics import Metrics
from service.stopping import Stopping

app = Starlette(
    routes=[Route("/echo", echo, methods=["POST"])],
    middleware=[
        Middleware(
            RequestMiddleware,
            metrics=Metrics(),
            templates={echo: "/echo"},
            stopping=Stopping(),
            state=State({"service": SimpleNamespace(tracing=None)}),
        )
    ],
)


@bentoml.service(
    name="echo",
    workers=1,
    traffic={"timeout": 150},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(app, path="/")
class Echo:
    """Answers with what it was sent."""

    @bentoml.on_startup
    def start(self) -> None:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 1000)
