"""Every metric of a job, in one place; exposed while it runs, or pushed to a gateway for what has no address."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, push_to_gateway, start_http_server

log = logging.getLogger("amostra.jobs")
PUSH_SECONDS = 10.0


class Metrics:
    """Of one job, labelled by its task and model."""

    def __init__(self, task: str, model: str) -> None:
        self.registry = CollectorRegistry()
        self._labels = {"task": task, "model": model}
        self._pushed = 0.0

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"amostra_job_{name}", text, list(self._labels), registry=self.registry).labels(**self._labels)

        def counter(name: str, text: str) -> Counter:
            return Counter(f"amostra_job_{name}", text, list(self._labels), registry=self.registry).labels(
                **self._labels
            )

        self.rows_planned = gauge("rows_planned", "Rows of the whole input.")
        self.shards_planned = gauge("shards_planned", "Shards of the whole input.")
        self.rows_before = gauge("rows_before", "Rows that were done when this run began.")
        self.rows = counter("rows", "Rows that this run has done, bad ones included.")
        self.bad_rows = counter("bad_rows", "Rows that this run could not answer.")
        self.shards = counter("shards", "Shards that this run has done.")
        self.workers = gauge("workers", "Workers of this run.")
        self.started = gauge("start_time_seconds", "When this run began, in seconds since 1970.")
        self.finished = gauge("success_time_seconds", "When the job was done, in seconds since 1970; 0 before.")

    @contextmanager
    def published(self, port: int | None, gateway: str | None) -> Iterator[None]:
        """Answer scrapes at a port, or keep a gateway up to date."""
        server = start_http_server(port, registry=self.registry)[0] if port is not None else None
        try:
            yield
        finally:
            if gateway is not None:
                self.push(gateway)
            if server is not None:
                server.shutdown()
                server.server_close()

    def push(self, gateway: str) -> None:
        """Tell the gateway how things are. A gateway that does not answer is no reason to stop."""
        self._pushed = time.monotonic()
        try:
            push_to_gateway(gateway, job="amostra", registry=self.registry, grouping_key=self._labels)
        except OSError as error:
            log.warning("--pushgateway %s: %s", gateway, error)

    def push_now_and_then(self, gateway: str | None) -> None:
        """Tell the gateway, if it was not told of late."""
        if gateway is not None and time.monotonic() - self._pushed > PUSH_SECONDS:
            self.push(gateway)
