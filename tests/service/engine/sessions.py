"""Sessions on the CPU for tests of devices: ones of toy graphs, and ones that keep a book of what is bound and run."""

import numpy as np
import onnxruntime as ort

from service.engine.brake import Brake, BrakedSession
from service.engine.job import Arrays
from tests.toys import graphs


def options() -> ort.SessionOptions:
    """Of a session with one thread, that says nothing of failures that are tested."""
    found = ort.SessionOptions()
    found.intra_op_num_threads = 1
    found.log_severity_level = 4
    return found


def braked(parts: graphs.Parts) -> BrakedSession:
    return BrakedSession(Brake(), parts[0].SerializeToString(), options(), providers=["CPUExecutionProvider"])


class BookedBinding:
    """A binding that books what is bound to it; what is bound to "cuda" is bound to the CPU."""

    def __init__(self, session: "Booked", binding: ort.IOBinding) -> None:
        self._session, self.binding = session, binding
        self.inputs: dict[str, int] = {}
        self.outputs: dict[str, int | str] = {}

    def bind_ortvalue_input(self, name: str, value: ort.OrtValue) -> None:
        self.inputs[name] = value.data_ptr()
        self._session.bound += 1
        self.binding.bind_ortvalue_input(name, value)

    def bind_ortvalue_output(self, name: str, value: ort.OrtValue) -> None:
        self.outputs[name] = value.data_ptr()
        self.binding.bind_ortvalue_output(name, value)

    def bind_output(self, name: str, device: str, number: int) -> None:
        self.outputs[name] = device
        self.binding.bind_output(name, device, number)

    def synchronize_inputs(self) -> None:
        self._session.steps.append("synchronize")

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        self._session.steps.append("copy")
        return self.binding.copy_outputs_to_cpu()


class Booked:
    """A session that says it is on a GPU and books the CUDA graph and the memory of each run.

    `refuses` is the number of a CUDA graph that cannot be recorded, if there is one; `wrong` gives all of them other bits.
    """

    def __init__(self, session: BrakedSession, provider: str, refuses: int = 0, wrong: bool = False) -> None:
        self._session, self._provider, self._refuses, self._wrong = session, provider, refuses, wrong
        self.brake = session.brake
        self.runs: list[tuple[int, tuple[int, ...], tuple[int | str, ...]]] = []
        self.steps: list[str] = []
        self.bound = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [self._provider, "CPUExecutionProvider"]

    def io_binding(self) -> BookedBinding:
        return BookedBinding(self, self._session.io_binding())

    def run_with_iobinding(self, binding: BookedBinding, options: ort.RunOptions) -> None:
        number = int(options.get_run_config_entry("gpu_graph_id"))
        if 0 < self._refuses == number:
            raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")
        self.steps.append("run")
        self.runs.append((number, tuple(binding.inputs.values()), tuple(binding.outputs.values())))
        self._session.run_with_iobinding(binding.binding, options)
        if self._wrong and number > 0:
            (value,) = binding.binding.get_outputs()
            value.update_inplace(value.numpy() + np.float32(1e-3))

    @property
    def numbers(self) -> list[int]:
        """The CUDA graph of each run; -1 is none."""
        return [number for number, _, _ in self.runs]


def latents(rows: int, seed: int = 0) -> Arrays:
    """Inputs of the toy decoder."""
    rng = np.random.default_rng(seed)
    return {"z": rng.normal(size=(rows, 4)).astype(np.float32), "label": rng.integers(0, 10, rows)}


def plainly(session: BrakedSession, feed: Arrays) -> Arrays:
    """What a plain run gives."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))
