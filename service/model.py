"""A model: its card, which tells what it can do, and in memory a runner for each capability and what its tasks need."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from tokenizers import Tokenizer

from contract import Capability, Manifest
from service.engine.brake import Brake
from service.engine.rows import RowRunner
from service.engine.sequence_parts import Sequences

TASKS: dict[str, tuple[tuple[Capability, ...], str | None]] = {
    "generate": ((Capability.DECODE, Capability.DENOISE_STEP, Capability.NEXT_TOKEN), "image"),
    "sample": ((Capability.DECODE,), "vector"),
    "denoise": ((Capability.RECONSTRUCT, Capability.DENOISE_STEP), "image"),
    "edit": ((Capability.DENOISE_STEP, Capability.NEXT_TOKEN, Capability.RECONSTRUCT), "image"),
    "restore": ((Capability.RECONSTRUCT,), "image"),
    "embed": ((Capability.ENCODE,), None),
    "score": ((Capability.SCORE, Capability.LOG_DENSITY), None),
    "complete": ((Capability.NEXT_TOKEN,), "text"),
}
"""The capabilities that can serve a task, the best one first, and the kind of data that it needs."""

_UNDOES = {"denoise": "noise", "edit": "mask"}
"""The degradation that `reconstruct` has to undo, to serve a task."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Card:
    """What is known of a model that was loaded, whether or not it is in memory now."""

    manifest: Manifest
    providers: dict[Capability, str]
    sheet: bytes | None = None
    load_seconds: float = 0.0
    id: str = field(init=False)
    """The name that requests use."""
    tasks: tuple[str, ...] = field(init=False)
    _serving: dict[str, Capability | None] = field(init=False, repr=False)
    _taken: dict[Capability, frozenset[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        serving = {task: self._best(task) for task in TASKS}
        graphs = self.manifest.capabilities.items()
        object.__setattr__(self, "id", self.manifest.name)
        object.__setattr__(self, "_serving", serving)
        object.__setattr__(self, "_taken", {name: frozenset(t.name for t in graph.inputs) for name, graph in graphs})
        object.__setattr__(self, "tasks", tuple(task for task, capability in serving.items() if capability is not None))

    def serving(self, task: str) -> Capability | None:
        """The capability that serves a task, None where the model cannot do it."""
        return self._serving[task]

    def _best(self, task: str) -> Capability | None:
        capabilities, kind = TASKS[task]
        restoration = self.manifest.restoration
        undoes = restoration.degradation if restoration else None
        draws = bool(self.manifest.sampling.samplers) or task == "denoise"
        for capability in capabilities if self.fits(kind) else ():
            wanted = _UNDOES.get(task) if capability is Capability.RECONSTRUCT else None
            able = draws if capability is Capability.DENOISE_STEP else wanted in (None, undoes)
            if capability in self.manifest.capabilities and able:
                return capability
        return None

    def fits(self, kind: str | None) -> bool:
        """Whether its data are of that kind."""
        return kind in (None, self.manifest.data.kind)

    @property
    def version(self) -> str:
        return self.manifest.version

    def takes(self, capability: Capability, name: str) -> bool:
        """Whether a graph has an input of that name."""
        return name in self._taken.get(capability, ())

    def gives(self, capability: Capability, name: str) -> bool:
        """Whether a graph has an output of that name."""
        graph = self.manifest.capabilities.get(capability)
        return graph is not None and any(t.name == name for t in graph.outputs)

    @cached_property
    def content(self) -> str:
        """The hash of all that its results follow from: the manifest, which has the hash of every file, and where the
        graphs run."""
        said = self.manifest.model_dump_json() + repr(sorted(self.providers.items()))
        return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedModel(Card):
    """A model that is ready. `key` is unique to this load, so that rows of a replaced model never meet its heir's."""

    key: str
    runners: dict[Capability, RowRunner | Sequences]
    tokenizer: Tokenizer | None = None
    calibration: np.ndarray | None = None
    """Scores of normal items, ascending: (K, n) for each statistic."""
    brake: Brake = field(default_factory=Brake)

    def stop(self) -> None:
        """End what its graphs run; they run no more."""
        self.brake.pull()

    @property
    def card(self) -> Card:
        """What stays known when the model is unloaded."""
        return Card(manifest=self.manifest, providers=self.providers, sheet=self.sheet, load_seconds=self.load_seconds)

    @cached_property
    def unknown_token(self) -> int | None:
        """The id that the tokenizer gives to what it does not know."""
        return self.tokenizer.token_to_id("<unk>") if self.tokenizer else None
