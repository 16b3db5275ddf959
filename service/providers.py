"""Which device there is, and which execution providers a graph is given for it, with which options.

Nothing here opens a session: what is decided can be read, and tested, on a machine without a GPU.
"""

import ctypes
import logging
from collections.abc import Sequence

import onnxruntime as ort

from contract import Capability, concatenates
from contract.manifest import Graph
from service.engine.sizes import BUCKETS
from service.settings import Settings

log = logging.getLogger("amostra.loading")

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvonnxparser.so.10")

Provider = tuple[str, dict[str, str | int | bool]]


class Machine:
    """What the driver and this ONNX Runtime offer."""

    def gpus(self) -> int:
        """How many GPUs the driver finds. `onnxruntime-gpu` lists CUDA on machines that have none, so it is no witness."""
        count = ctypes.c_int(0)
        try:
            driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            return 0
        sound = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        return count.value if sound else 0

    def providers(self) -> Sequence[str]:
        """What ONNX Runtime was built with."""
        return ort.get_available_providers()

    def preload(self) -> None:
        """Load CUDA and cuDNN from where pip puts them."""
        ort.preload_dlls()

    def loads(self, library: str) -> bool:
        """Whether a library can be loaded; it stays loaded."""
        try:
            ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
        except OSError:
            return False
        return True


MACHINE = Machine()


def find_device(wanted: str, machine: Machine = MACHINE) -> str:
    """The device for graphs, "cuda" or "cpu".

    `onnxruntime-gpu` falls back to the CPU without a word, so what it needs is looked for first. Raises RuntimeError where
    CUDA or TensorRT is demanded and missing.
    """
    if wanted == "cpu":
        return "cpu"
    missing = None
    if machine.gpus() == 0:
        missing = "the NVIDIA driver finds no GPU"
    elif CUDA not in machine.providers():
        missing = "this onnxruntime was built without CUDA"
    if missing is None:
        machine.preload()
        if wanted != "tensorrt":
            return "cuda"
        if TENSORRT not in machine.providers():
            raise RuntimeError(
                "AMOSTRA_PROVIDER=tensorrt, but this onnxruntime was built without TensorRT: set it to cuda"
            )
        absent = [library for library in TENSORRT_LIBRARIES if not machine.loads(library)]
        if absent:
            raise RuntimeError(
                f"AMOSTRA_PROVIDER=tensorrt, but {' and '.join(absent)} cannot be loaded: install TensorRT 10 for CUDA 13 "
                "and name its directory in LD_LIBRARY_PATH, or set it to cuda"
            )
        return "cuda"
    if wanted != "auto":
        raise RuntimeError(
            f"AMOSTRA_PROVIDER={wanted}, but {missing}: set it to cpu or auto, or install the [gpu] extra"
        )
    log.warning("every model runs on the CPU: %s", missing)
    return "cpu"


def runs_on(capability: Capability, graph: Graph, settings: Settings, device: str) -> str:
    """Where a graph runs on a machine whose device is this.

    Attention over a shared key/value buffer has kernels in float16 only on a GPU, so text goes there where that may be
    rounded. Graphs whose keys and values grow by concatenation, or that have none, stay on the CPU.
    """
    if capability is not Capability.NEXT_TOKEN:
        return device
    return device if _attends(graph) and halved(graph, settings) and not concatenates(graph.inputs) else "cpu"


def _attends(graph: Graph) -> bool:
    return any(spec.name.startswith("past_key_values.") for spec in graph.inputs)


def halved(graph: Graph, settings: Settings) -> bool:
    """Whether a GPU may compute in float16 (or TF32, whose mantissa is as short; of text the attention alone): by the operator,
    and by the parity that was measured at export."""
    measured = graph.float16
    return settings.precision == "auto" and measured is not None and measured.max_abs_diff <= measured.tolerance


def fixed_shapes(graph: Graph) -> bool:
    """Whether nothing of its inputs is free but the number of rows."""
    return all(isinstance(side, int) for spec in graph.inputs for side in spec.shape[1:])


def providers_of(graph: Graph, settings: Settings, device: str, *, captured: bool = False) -> list[Provider]:
    """The execution providers of a graph on a device, the preferred one first.

    `captured` is for a session whose runs can be CUDA graphs. Of graphs that attend only the attention may be rounded. TensorRT is given only what may be rounded, for it has no
    switch for TF32, and only fixed shapes, for it builds an engine, which takes minutes, for each range of them.
    """
    found: list[Provider] = [(CPU, {})]
    if device == "cpu":
        return found
    cuda: dict[str, str | int | bool] = {
        # A search by stopwatch may choose another algorithm, and with it other last bits, at every start.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Batches come in a few sizes: what the largest needs is enough for all.
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": halved(graph, settings) and not _attends(graph),
        "enable_cuda_graph": captured,
    }
    found.insert(0, (CUDA, cuda))
    if settings.provider == "tensorrt" and halved(graph, settings) and fixed_shapes(graph):
        found.insert(0, (TENSORRT, _tensorrt(graph, settings)))
    return found


def _tensorrt(graph: Graph, settings: Settings) -> dict[str, str | int | bool]:
    def shapes(rows: int) -> str:
        return ",".join(f"{s.name}:{'x'.join(map(str, (rows, *s.shape[1:])))}" for s in graph.inputs)

    options: dict[str, str | int | bool] = {
        "trt_fp16_enable": True,
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(settings.max_batch_rows),
        "trt_profile_max_shapes": shapes(device_sizes(settings)[-1]),
    }
    if settings.tensorrt_cache is not None:
        # An engine is of one graph and one version of the runtime; TensorRT's own and the GPU's are in its file's name.
        path = str(settings.tensorrt_cache / f"{graph.sha256[:16]}-{ort.__version__}")
        options |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": path}
        options |= {"trt_timing_cache_enable": True, "trt_timing_cache_path": path}
    return options


def cpu_sizes(graph: Graph) -> tuple[int, ...]:
    """Batch sizes in which a row's bits are the same on a CPU, so that the same seed gives the same bytes.

    Where they are not, or nobody has measured, each row runs alone: reductions over rows of odd length depend on a row's
    place in the batch too, which one fixed size does not cure. Where only a row alone differs, all are of two or more.
    """
    known = graph.batch_invariance
    if known is None or known.max_abs_diff > 0 or max(known.batch_sizes, default=1) == 1:  # 1 agrees with itself
        return (1,)
    return tuple(size for size in BUCKETS if size >= min(known.batch_sizes)) or (1,)


def device_sizes(settings: Settings) -> tuple[int, ...]:
    """Batch sizes on a device: powers of two up to the first that holds the largest batch."""
    return tuple(2**i for i in range((settings.max_batch_rows - 1).bit_length() + 1))
