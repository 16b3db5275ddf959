"""Sessions whose runs can be ended from another thread."""

import threading
from collections.abc import Sequence
from typing import Any

import onnxruntime as ort


class Brake:
    """Once `pull`ed, runs under way end with an error between two of their nodes, those inside of loops too, and later ones
    fail at once. A single node that does not come back is not ended by it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pulled = False
        self._all: list[ort.RunOptions] = []
        # The runtime's default. Where it is not said, Python looks for it in vain at every run, which takes 30 µs.
        self.options = self.options_of(-1)

    def options_of(self, graph: int) -> ort.RunOptions:
        """Options of runs that are, or record, the CUDA graph of this number; -1 is none."""
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(graph))
        with self._lock:
            options.terminate = self._pulled
            self._all.append(options)
        return options

    def pull(self) -> None:
        """End what runs. Safe to call from any thread, more than once."""
        with self._lock:
            self._pulled = True
            for options in self._all:
                options.terminate = True


class BrakedSession(ort.InferenceSession):
    """A session all of whose runs obey a brake."""

    def __init__(self, brake: Brake, *arguments: Any, **options: Any) -> None:
        # Python's own fallback would open the session again on the CPU, and print.
        super().__init__(*arguments, **options, enable_fallback=0)
        self.brake = brake

    def run(
        self, output_names: Sequence[str] | None, input_feed: Any, run_options: ort.RunOptions | None = None
    ) -> Any:
        return super().run(output_names, input_feed, run_options or self.brake.options)

    def run_with_iobinding(self, iobinding: ort.IOBinding, run_options: ort.RunOptions | None = None) -> None:
        super().run_with_iobinding(iobinding, run_options or self.brake.options)
