"""A model in memory: its manifest, a runner for each capability, and what its tasks need beside."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from tokenizers import Tokenizer

from contract import Capability, Manifest
from service.engine.rows import RowRunner
from service.engine.sequences import SequenceRunner

TASKS: dict[str, tuple[Capability, str | None]] = {
    "generate": (Capability.DECODE, "image"),
    "denoise": (Capability.RECONSTRUCT, "image"),
    "score": (Capability.LOG_DENSITY, None),
    "complete": (Capability.NEXT_TOKEN, "text"),
}
"""The capability that serves a task, and the kind of data that it needs."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model that is ready. `key` is unique to this load, so that rows of a replaced model never meet its heir's."""

    manifest: Manifest
    key: str
    runners: dict[Capability, RowRunner | SequenceRunner]
    providers: dict[Capability, str]
    tokenizer: Tokenizer | None = None
    calibration: np.ndarray | None = None
    load_seconds: float = 0.0
    tasks: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        kind = self.manifest.data.kind
        tasks = (t for t, (c, k) in TASKS.items() if c in self.runners and k in (None, kind))
        object.__setattr__(self, "tasks", tuple(tasks))

    @property
    def id(self) -> str:
        """The name that requests use."""
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    def takes(self, capability: Capability, name: str) -> bool:
        """Whether a graph has an input of that name."""
        graph = self.manifest.capabilities.get(capability)
        return graph is not None and any(t.name == name for t in graph.inputs)

    def gives(self, capability: Capability, name: str) -> bool:
        """Whether a graph has an output of that name."""
        graph = self.manifest.capabilities.get(capability)
        return graph is not None and any(t.name == name for t in graph.outputs)

    @cached_property
    def unknown_token(self) -> int | None:
        """The id that the tokenizer gives to what it does not know."""
        return self.tokenizer.token_to_id("<unk>") if self.tokenizer else None
