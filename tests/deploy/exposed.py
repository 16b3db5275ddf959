"""The names under which Prometheus knows the service's metrics."""

import re
from types import SimpleNamespace

from service.gpu import Gpus
from service.metrics import Metrics

_SERIES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
_NAME = re.compile(r"\b(?:amostra|process|python)_\w+")


def series() -> set[str]:
    """Every series, those of a GPU too; families that have no sample yet count."""
    metrics = Metrics()
    metrics.registry.register(Gpus(SimpleNamespace(nvmlDeviceGetCount=lambda: 0)))
    families = metrics.registry.collect()
    return {family.name + suffix for family in families for suffix in _SERIES.get(family.type, ())}


def named(expr: str) -> set[str]:
    """The service's series that a PromQL expression names."""
    return set(_NAME.findall(expr))
