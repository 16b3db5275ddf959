"""From a directory to a model in memory, or a refusal that says what was expected and what was found.

Nothing in the directory is trusted: the manifest is strict, files and graphs are checked as sessions.py has it, and arrays
are read without pickle.
"""

import io
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from contract import Capability, Manifest, ManifestError, TensorSpec, concatenates
from contract.files import manifest_bytes, parse_manifest
from contract.manifest import Calibration, FileRef, Graph
from service import trial
from service.engine.brake import Brake, BrakedSession
from service.engine.concatenating_graph import Concatenation
from service.engine.device_text import DeviceTokenGraph
from service.engine.key_values import bytes_per_row
from service.engine.rows import RowRunner
from service.engine.sequence_parts import SequenceParts, Sequences
from service.engine.sequences import SequenceRunner
from service.engine.width import Widen
from service.model import LoadedModel
from service.on_device import device_runner, device_sequences
from service.providers import CPU, cpu_sizes, device_sizes, fixed_shapes, runs_on
from service.sessions import ModelRefused, open_mover, open_session, read_file
from service.settings import Settings
from service.signing import SigningError, Verifier

log = logging.getLogger("amostra.loading")

PNG = b"\x89PNG\r\n\x1a\n"
_PART_SLOTS = 8
"""The fewest slots of a part of a text graph's sequences: so many rows take a step hardly longer than one."""
_PART_BYTES = 10 * 2**20
"""The most weights of a graph that is written in parts; of larger ones each part would wait for the memory."""
_loads = itertools.count(1)

Make = Callable[..., BrakedSession]
"""Opens a session of a graph, on a device and with so many threads."""


def load_model(directory: Path, settings: Settings, device: str) -> LoadedModel:
    """Load `<name>/<version>/` and run each of its graphs once.

    Raises ModelRefused.
    """
    start = time.monotonic()
    try:
        text = manifest_bytes(directory)
        if settings.public_key is not None:
            Verifier(settings.public_key).check(directory, text)
        manifest = parse_manifest(text)
    except (ManifestError, SigningError) as error:
        raise ModelRefused(str(error)) from error
    if settings.trial_mb and (why := trial.problem(directory, settings)) is not None:
        raise ModelRefused(why)
    found = f"{directory.parent.name}/{directory.name}"
    if (manifest.name, manifest.version) != (directory.parent.name, directory.name):
        raise ModelRefused(f"directory: expected {manifest.name}/{manifest.version} as in the manifest, found {found}")
    runners: dict[Capability, RowRunner | Sequences] = {}
    providers: dict[Capability, str] = {}
    brake = Brake()
    for capability, graph in manifest.capabilities.items():
        place = runs_on(capability, graph, settings, device)
        if place != device:
            log.info("%s: %s stays on the CPU", found, graph.file)
        make = partial(open_session, directory, capability, graph, settings, brake=brake)
        moved = _on_device(make, place, graph, manifest, settings) if place != "cpu" else None
        if moved is not None:
            runners[capability], providers[capability] = moved
            continue
        providers[capability] = CPU
        runners[capability] = _on_cpu(partial(make, device="cpu"), directory, capability, manifest, settings)
    model = LoadedModel(
        manifest=manifest,
        key=f"{manifest.name}@{manifest.version}#{next(_loads)}",
        runners=runners,
        providers=providers,
        brake=brake,
        tokenizer=_tokenizer(directory, manifest),
        calibration=_calibration(directory, manifest, manifest.calibration) if manifest.calibration else None,
        sheet=_sheet(directory, manifest.sheet) if manifest.sheet else None,
        load_seconds=time.monotonic() - start,
    )
    for capability in runners:
        _warm(model, capability, settings.hang_seconds)
    return model


def _on_cpu(
    make: Make, directory: Path, capability: Capability, manifest: Manifest, settings: Settings
) -> RowRunner | Sequences:
    session, graph = make(threads=settings.intra_op_threads), manifest.capabilities[capability]
    sizes = cpu_sizes(graph)
    # Where rows depend on their batch, threads may matter too.
    exact = sizes != (1,)
    narrow = settings.intra_op_threads < settings.workers
    widen = partial(make, threads=settings.workers) if exact and narrow else None
    if capability is Capability.NEXT_TOKEN:
        weights = sum((directory / ref.file).stat().st_size for ref in (graph, *graph.external_data))
        return _sequences(session, graph, manifest, settings, widen, weights)
    return RowRunner(session, "cpu", sizes, widen)


def _sequences(
    session: ort.InferenceSession,
    graph: Graph,
    manifest: Manifest,
    settings: Settings,
    widen: Widen | None,
    weights: int,
) -> Sequences:
    slots = _slots(session, graph, manifest, settings)
    sizes = cpu_sizes(graph)
    exact, company = sizes != (1,), sizes[0] > 1
    grown = None
    if concatenates(graph.inputs):
        vocabulary = manifest.text.vocabulary if manifest.text else session.get_outputs()[0].shape[-1]
        grown = Concatenation(vocabulary, together=exact, company=company)
    most = slots // _PART_SLOTS if exact and weights <= _PART_BYTES else 1
    parts = max(1, min(settings.workers, most))
    make = partial(
        SequenceRunner,
        session,
        context=manifest.context,
        chunk=settings.prefill_chunk,
        company=company and grown is None,
        together=exact,
        reuse=exact and grown is None,  # how a prompt is cut may change last bits
        widen=cache(widen) if widen is not None else None,
        concatenation=grown,
    )
    return SequenceParts([make(slots=(slots + i) // parts) for i in range(parts)])


def _slots(session: ort.InferenceSession, graph: Graph, manifest: Manifest, settings: Settings) -> int:
    """How many sequences have their keys and values in memory. Raises ModelRefused where there is no room for one."""
    try:
        each = bytes_per_row(session, manifest.context)
    except (KeyError, TypeError) as error:
        expected = "float32 or float16 caches with fixed numbers of heads and of elements"
        raise ModelRefused(f"{graph.file}: expected {expected}, found {error}") from error
    budget = settings.text_cache_mb * 2**20
    if each > budget:
        raise ModelRefused(
            f"{graph.file}: expected keys and values of a sequence within AMOSTRA_TEXT_CACHE_MB = "
            f"{settings.text_cache_mb} MB, found {each / 2**20:.1f} MB: allow more"
        )
    return min(settings.text_slots, budget // each) if each else settings.text_slots


def _on_device(
    make: Make, device: str, graph: Graph, manifest: Manifest, settings: Settings
) -> tuple[RowRunner | Sequences, str] | None:
    """What runs a graph on another device, and the provider; None where it cannot be there."""
    threads = settings.intra_op_threads
    session = make(device=device, threads=threads)
    provider = session.get_providers()[0]
    if provider == CPU:
        return None
    name = f"{manifest.name}@{manifest.version} {graph.file}"
    recorded = partial(make, device=device, threads=threads, captured=True) if settings.cuda_graphs == "auto" else None
    if manifest.capabilities.get(Capability.NEXT_TOKEN) is graph:
        slots, context = _slots(session, graph, manifest, settings), manifest.context

        def text() -> DeviceTokenGraph:
            mover = open_mover(session, context, settings, graph)
            return DeviceTokenGraph(make(device="cpu", threads=threads), session, mover, slots, context, device)

        tolerance = graph.float16.tolerance if graph.float16 is not None else 0.0
        with _bounded(graph, settings.hang_seconds, session.brake.pull):
            found = device_sequences(name, text, chunk=settings.prefill_chunk, tolerance=tolerance, recorded=recorded)
        return None if found is None else (found, provider)
    with _bounded(graph, settings.hang_seconds, session.brake.pull):
        sizes, rng = device_sizes(settings), np.random.default_rng(0)
        rows = {t.name: example_rows(t, manifest, sizes[-1], rng) for t in graph.inputs}
        fixed = fixed_shapes(graph)
        return device_runner(name, session, device, rows, sizes, fixed=fixed, recorded=recorded), provider


def _tokenizer(directory: Path, manifest: Manifest) -> Tokenizer | None:
    if manifest.text is None:
        return None
    ref = manifest.text.tokenizer
    try:
        tokenizer = Tokenizer.from_str(read_file(directory, ref).decode("utf-8"))
    except ModelRefused:
        raise
    except Exception as error:  # the library raises bare exceptions
        raise ModelRefused(f"{ref.file}: expected a tokenizer.json, found {error}") from error
    size = tokenizer.get_vocab_size()
    if size < manifest.text.vocabulary:
        raise ModelRefused(f"{ref.file}: expected {manifest.text.vocabulary} tokens, found {size}")
    return tokenizer


def _calibration(directory: Path, manifest: Manifest, calibration: Calibration) -> np.ndarray:
    """Ascending scores, (N, n) for N statistics."""
    ref = calibration.scores
    try:
        scores = np.lib.format.read_array(io.BytesIO(read_file(directory, ref)), allow_pickle=False)
    except ModelRefused:
        raise
    except Exception as error:  # ValueError, EOFError, MemoryError … for broken files
        raise ModelRefused(f"{ref.file}: expected a .npy array without objects, found {error}") from error
    shape = (len(manifest.scoring.statistics), calibration.size) if manifest.scoring else (calibration.size,)
    sound = scores.dtype == np.float64 and scores.shape == shape and np.isfinite(scores).all()
    if not sound or (np.diff(scores) < 0).any():
        raise ModelRefused(
            f"{ref.file}: expected {' × '.join(map(str, shape))} finite float64 scores in ascending order, "
            f"found {scores.dtype}{scores.shape}"
        )
    return scores.reshape(-1, calibration.size)


def _sheet(directory: Path, ref: FileRef) -> bytes:
    blob = read_file(directory, ref)
    if not blob.startswith(PNG):
        raise ModelRefused(f"{ref.file}: expected a PNG, found {blob[:8]!r}")
    return blob


def _warm(model: LoadedModel, capability: Capability, seconds: float) -> None:
    runner = model.runners[capability]
    graph = model.manifest.capabilities[capability]
    with _bounded(graph, seconds, model.stop):
        if isinstance(runner, Sequences):
            runner.warm()
        else:
            runner.warm({t.name: example_rows(t, model.manifest, 1) for t in graph.inputs})


@contextmanager
def _bounded(graph: Graph, seconds: float, stop: Callable[[], None]) -> Iterator[None]:
    """First runs: `stop` is called after so many seconds. Raises ModelRefused for whatever goes wrong."""
    watchdog = threading.Timer(seconds, stop)
    watchdog.start()
    try:
        yield
    except Exception as error:
        within = "" if watchdog.is_alive() else f" within {seconds:g} s"
        raise ModelRefused(
            f"{graph.file}: expected a graph that runs on a blank input{within}, found {error}"
        ) from error
    finally:
        watchdog.cancel()


def example_rows(
    tensor: TensorSpec, manifest: Manifest, rows: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Rows of an input, blank or of what any graph takes: numbers in [0, 1), and the first two classes and tokens."""
    side = 8 * manifest.data.side_multiple
    if manifest.text is not None:
        side = min(side, manifest.text.context)
    shape = [rows, *(d if isinstance(d, int) else side for d in tensor.shape[1:])]
    dtype = np.dtype(tensor.dtype)
    if rng is None or tensor.name == "lengths":
        return np.full(shape, side if tensor.name == "lengths" else 0, dtype)
    return (rng.random(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)).astype(dtype)
