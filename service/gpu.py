"""Memory and utilisation of the GPUs, asked of NVML at each scrape."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pynvml
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = logging.getLogger("amostra.gpu")


class Gpus(Collector):
    """Tells Prometheus of every GPU that the process can see; `nvml` is the module pynvml, initialised."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml

    def collect(self) -> Iterator[Metric]:
        """Three gauges, by the GPU's number; what a GPU does not tell (a part of one knows no utilisation) is left out."""
        used = GaugeMetricFamily("amostra_gpu_memory_used_bytes", "Memory in use, by all processes.", labels=["gpu"])
        total = GaugeMetricFamily("amostra_gpu_memory_total_bytes", "Memory of the GPU.", labels=["gpu"])
        busy = GaugeMetricFamily(
            "amostra_gpu_utilisation_ratio", "Share of the last moments in which it computed.", labels=["gpu"]
        )
        for number in range(self._nvml.nvmlDeviceGetCount()):
            device = self._nvml.nvmlDeviceGetHandleByIndex(number)
            with contextlib.suppress(self._nvml.NVMLError):
                memory = self._nvml.nvmlDeviceGetMemoryInfo(device)
                used.add_metric([str(number)], memory.used)
                total.add_metric([str(number)], memory.total)
            with contextlib.suppress(self._nvml.NVMLError):
                busy.add_metric([str(number)], self._nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
        yield from (used, total, busy)


def watch(registry: CollectorRegistry) -> None:
    """Add the GPUs' gauges; where NVML does not answer, only say so."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.warning("no metrics of the GPU: NVML says %s", error)
        return
    registry.register(Gpus(pynvml))
