"""Which device there is, and what a graph is given for it: by setting, by manifest and by what the machine has."""

from pathlib import Path

import onnxruntime as ort
import pytest

from contract import Capability, TensorSpec
from contract.manifest import Agreement, Graph
from service.engine.sizes import BUCKETS
from service.providers import (
    CPU,
    CUDA,
    TENSORRT,
    TENSORRT_LIBRARIES,
    Machine,
    cpu_sizes,
    device_sizes,
    find_device,
    fixed_shapes,
    halved,
    providers_of,
    runs_on,
)
from service.settings import Settings


class Standing(Machine):
    """A machine of which everything is said."""

    def __init__(
        self, gpus: int = 1, providers: tuple[str, ...] = (TENSORRT, CUDA, CPU), libraries: tuple = ()
    ) -> None:
        self._gpus, self._providers, self._libraries = gpus, providers, libraries
        self.preloaded = 0

    def gpus(self) -> int:
        return self._gpus

    def providers(self) -> tuple[str, ...]:
        return self._providers

    def preload(self) -> None:
        self.preloaded += 1

    def loads(self, library: str) -> bool:
        return library in self._libraries


NO_GPU = Standing(gpus=0)
NO_CUDA = Standing(providers=(CPU,))
NO_TENSORRT = Standing(providers=(CUDA, CPU))
FULL = Standing(libraries=TENSORRT_LIBRARIES)


@pytest.mark.parametrize(
    ("wanted", "machine", "found"),
    [
        ("cpu", FULL, "cpu"),
        ("auto", NO_GPU, "cpu"),
        ("auto", NO_CUDA, "cpu"),
        ("auto", NO_TENSORRT, "cuda"),
        ("cuda", NO_TENSORRT, "cuda"),
        ("tensorrt", FULL, "cuda"),
    ],
)
def test_the_device_is_what_the_machine_has(wanted: str, machine: Machine, found: str) -> None:
    assert find_device(wanted, machine) == found


def test_this_machine_is_asked_for_what_it_has() -> None:
    assert find_device("cpu") == "cpu"
    assert find_device("auto") in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("wanted", "machine", "says"),
    [
        ("cuda", NO_GPU, "AMOSTRA_PROVIDER=cuda, but the NVIDIA driver finds no GPU: set it to cpu or auto"),
        ("cuda", NO_CUDA, "AMOSTRA_PROVIDER=cuda, but this onnxruntime was built without CUDA"),
        ("tensorrt", NO_GPU, "AMOSTRA_PROVIDER=tensorrt, but the NVIDIA driver finds no GPU"),
        ("tensorrt", NO_TENSORRT, "built without TensorRT: set it to cuda"),
        ("tensorrt", Standing(), r"libnvinfer.so.10 and libnvonnxparser.so.10 cannot be loaded: install TensorRT 10"),
        ("tensorrt", Standing(libraries=TENSORRT_LIBRARIES[:1]), r"but libnvonnxparser.so.10 cannot be loaded"),
    ],
)
def test_what_is_demanded_and_missing_is_no_silent_fallback(wanted: str, machine: Machine, says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        find_device(wanted, machine)


def test_cuda_s_libraries_are_loaded_where_there_is_a_gpu_only() -> None:
    without, with_one = Standing(gpus=0), Standing()
    find_device("auto", without)
    find_device("auto", with_one)
    assert (without.preloaded, with_one.preloaded) == (0, 1)


def graph(float16: float | None = 1e-3, *sides: int | str) -> Graph:
    """A graph of images, with a parity in float16."""
    return Graph(
        file="denoise_step.onnx",
        sha256="ab" * 32,
        inputs=(
            TensorSpec(name="x_t", dtype="float32", shape=("batch", *(sides or (1, 28, 28)))),
            TensorSpec(name="sigma", dtype="float32", shape=("batch",)),
        ),
        outputs=(),
        float16=None if float16 is None else Agreement(max_abs_diff=float16, tolerance=2e-3, batch_sizes=(1,)),
    )


def settings(**own: object) -> Settings:
    return Settings(**({"provider": "cuda"} | own))  # type: ignore[arg-type]


def names(graph: Graph, settings: Settings, device: str = "cuda") -> list[str]:
    return [name for name, _ in providers_of(graph, settings, device)]


def test_a_cpu_is_given_itself_alone() -> None:
    for provider in ("cpu", "auto", "cuda", "tensorrt"):
        assert providers_of(graph(), settings(provider=provider), "cpu") == [(CPU, {})]


def test_cuda_falls_back_to_the_cpu_node_by_node() -> None:
    for provider in ("auto", "cuda"):
        assert names(graph(), settings(provider=provider)) == [CUDA, CPU]


def test_tensorrt_is_given_what_may_be_rounded_and_has_fixed_shapes() -> None:
    wants = settings(provider="tensorrt")
    assert names(graph(), wants) == [TENSORRT, CUDA, CPU]
    assert names(graph(None), wants) == [CUDA, CPU]
    assert names(graph(5e-3), wants) == [CUDA, CPU]
    assert names(graph(1e-3, 1, "height", 28), wants) == [CUDA, CPU]
    assert names(graph(), settings(provider="tensorrt", precision="float32")) == [CUDA, CPU]


def test_half_precision_needs_the_operator_and_the_parity() -> None:
    assert halved(graph(2e-3), settings())
    assert not halved(graph(2.1e-3), settings())
    assert not halved(graph(None), settings())
    assert not halved(graph(0.0), settings(precision="float32"))


def test_cuda_rounds_and_records_only_where_it_may() -> None:
    def options(measured: float | None, *, captured: bool) -> dict:
        return dict(providers_of(graph(measured), settings(), "cuda", captured=captured))[CUDA]

    assert options(None, captured=False)["use_tf32"] is False
    assert options(1e-3, captured=False)["use_tf32"] is True
    assert options(None, captured=False)["enable_cuda_graph"] is False
    assert options(None, captured=True)["enable_cuda_graph"] is True
    assert options(None, captured=True)["cudnn_conv_algo_search"] == "HEURISTIC"


def test_tensorrt_builds_one_engine_for_all_batch_sizes_and_keeps_it_by_graph(tmp_path: Path) -> None:
    without = dict(providers_of(graph(), settings(provider="tensorrt", max_batch_rows=48), "cuda"))[TENSORRT]
    assert without["trt_profile_min_shapes"] == "x_t:1x1x28x28,sigma:1"
    assert without["trt_profile_opt_shapes"] == "x_t:48x1x28x28,sigma:48"
    assert without["trt_profile_max_shapes"] == "x_t:64x1x28x28,sigma:64"
    assert without["trt_fp16_enable"] is True
    assert "trt_engine_cache_path" not in without
    kept = dict(providers_of(graph(), settings(provider="tensorrt", tensorrt_cache=tmp_path), "cuda"))[TENSORRT]
    assert kept["trt_engine_cache_enable"] is True
    assert kept["trt_engine_cache_path"] == str(tmp_path / f"{'ab' * 8}-{ort.__version__}")


def test_onnx_runtime_takes_the_options_as_they_are() -> None:
    from onnxruntime.capi.onnxruntime_inference_collection import check_and_normalize_provider_args

    wanted = providers_of(graph(), settings(provider="tensorrt"), "cuda", captured=True)
    found, options = check_and_normalize_provider_args(wanted, None, [TENSORRT, CUDA, CPU])
    assert found == [TENSORRT, CUDA, CPU]
    assert options[1]["enable_cuda_graph"] == "True"
    assert all(isinstance(value, str) for own in options for value in own.values())


def text(float16: float | None, *inputs: str) -> Graph:
    """A text graph, with a parity in float16."""
    specs = tuple(TensorSpec(name=name, dtype="float32", shape=("B", 1, "cache", 16)) for name in inputs)
    return graph(float16).model_copy(update={"inputs": specs})


def test_text_runs_on_a_gpu_where_its_attention_may_be_rounded() -> None:
    caches = "past_key_values.0.key", "past_key_values.0.value"

    def place(found: Graph, **own: object) -> str:
        return runs_on(Capability.NEXT_TOKEN, found, settings(**own), "cuda")

    assert place(text(1e-3, *caches)) == "cuda"
    assert place(text(2.1e-3, *caches)) == "cpu"
    assert place(text(None, *caches)) == "cpu"
    assert place(text(1e-3, *caches), precision="float32") == "cpu"
    assert place(text(1e-3)) == "cpu"  # a bigram's
    assert place(text(1e-3, "attention_mask", *caches)) == "cpu"  # caches that grow
    assert runs_on(Capability.NEXT_TOKEN, text(1e-3, *caches), settings(), "cpu") == "cpu"


def test_all_else_runs_where_the_machine_has_its_device() -> None:
    others = [c for c in Capability if c is not Capability.NEXT_TOKEN]
    assert {runs_on(c, graph(), settings(), "cuda") for c in others} == {"cuda"}
    assert {runs_on(c, graph(), settings(), "cpu") for c in others} == {"cpu"}


def test_of_text_only_the_attention_is_rounded() -> None:
    ((_, images), _), ((_, texts), _) = (
        providers_of(found, settings(), "cuda") for found in (graph(1e-3), text(1e-3, "past_key_values.0.key"))
    )
    assert images["use_tf32"] is True
    assert texts["use_tf32"] is False


@pytest.mark.parametrize(
    ("apart", "measured", "found"),
    [
        (0.0, (1, 2, 3, 8), BUCKETS),
        (0.0, (2, 3, 8), BUCKETS[1:]),
        (1e-7, (1, 2, 3, 8), (1,)),
        (0.0, (1,), (1,)),  # a row alone agrees with itself
        (0.0, (), (1,)),
        (0.0, (1000,), (1,)),
    ],
)
def test_rows_share_a_cpu_s_batches_where_their_bits_are_the_same(
    apart: float, measured: tuple[int, ...], found: tuple[int, ...]
) -> None:
    known = Agreement(max_abs_diff=apart, tolerance=1e-4, batch_sizes=measured)
    assert cpu_sizes(graph().model_copy(update={"batch_invariance": known})) == found


def test_rows_of_which_nothing_is_known_run_alone() -> None:
    assert cpu_sizes(graph()) == (1,)


def test_sizes_are_powers_of_two_up_to_the_largest_batch() -> None:
    assert device_sizes(settings(max_batch_rows=1)) == (1,)
    assert device_sizes(settings(max_batch_rows=64)) == (1, 2, 4, 8, 16, 32, 64)
    assert device_sizes(settings(max_batch_rows=65))[-1] == 128


def test_only_the_number_of_rows_is_free_in_fixed_shapes() -> None:
    assert fixed_shapes(graph())
    assert not fixed_shapes(graph(None, 1, "height", "width"))
