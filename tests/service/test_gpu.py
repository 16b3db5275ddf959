"""GPUs are told of as NVML has them; what one does not know is left out."""

from types import SimpleNamespace

from prometheus_client import CollectorRegistry

from service.gpu import Gpus


class NotSupported(Exception):
    pass


class Nvml:
    """Two GPUs; the second is a part of one, and knows no utilisation."""

    NVMLError = NotSupported

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetMemoryInfo(self, device: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=2**30 * (device + 1), total=80 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, device: int) -> SimpleNamespace:  # noqa: N802
        if device == 1:
            raise NotSupported
        return SimpleNamespace(gpu=37)


def test_memory_and_utilisation_of_each() -> None:
    registry = CollectorRegistry()
    registry.register(Gpus(Nvml()))
    value = registry.get_sample_value
    assert value("amostra_gpu_memory_used_bytes", {"gpu": "1"}) == 2 * 2**30
    assert value("amostra_gpu_memory_total_bytes", {"gpu": "0"}) == 80 * 2**30
    assert value("amostra_gpu_utilisation_ratio", {"gpu": "0"}) == 0.37
    assert value("amostra_gpu_utilisation_ratio", {"gpu": "1"}) is None
