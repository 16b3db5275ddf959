"""The model store as the service sees it: watched by polling, loaded in the background, asked by name.

Dropping `<model>/<version>/` into the store serves it without a restart. A directory that changed must lie still for one
poll before it is loaded, so that a slow copy is not read half-way; one that became bad while its former content is
serving keeps serving that content, and says so.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from service.errors import Invalid, NotFound, NotReady
from service.loading import ModelRefused, load_model
from service.model import TASKS, LoadedModel
from service.settings import Settings

log = logging.getLogger("amostra.catalog")

State = Literal["loading", "ready", "refused"]
Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Entry:
    """One version of one model in the store. `problem` says why it was refused; `model` serves, where there is one."""

    name: str
    version: str
    fingerprint: Fingerprint
    state: State = "loading"
    problem: str | None = None
    model: LoadedModel | None = None


class Catalog:
    """All models of the store.

    `on_change(entry, present)` is told of each entry that was loaded or refused, and of each that is gone.
    """

    def __init__(
        self,
        settings: Settings,
        device: str,
        load: Callable[[Path, Settings, str], LoadedModel] = load_model,
        on_change: Callable[[Entry, bool], None] = lambda entry, present: None,
    ) -> None:
        self._settings = settings
        self._device = device
        self._load = load
        self._on_change = on_change
        self._defaults: dict[str, str] = {task: getattr(settings, f"default_{task}") for task in TASKS}
        self._scanned = False
        self._entries: dict[tuple[str, str], Entry] = {}
        self._unsettled: dict[tuple[str, str], Fingerprint] = {}
        self._missing: set[tuple[str, str]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="amostra-catalog", daemon=True)

    def start(self) -> None:
        """Load what is there in the background, and keep watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; what is loaded stays."""
        self._stop.set()
        self._thread.join()

    def entries(self) -> list[Entry]:
        """Every version of every model, by name and version."""
        return sorted(self._entries.values(), key=lambda e: (e.name, _order(e.version)))

    def current(self) -> list[Entry]:
        """The entry that serves each name: the highest version that is loaded."""
        best: dict[str, Entry] = {}
        for entry in self.entries():
            if entry.model is not None:
                best[entry.name] = entry
        return list(best.values())

    def default(self, task: str, kind: str | None = None) -> str:
        """The model of a task where a request names none: the setting's, if the store has it, otherwise the first by
        name that can. `kind` asks for a model of that kind of data; a default of another task goes before the rest.

        Raises NotFound where no model can do the task, NotReady while one that can may still be on its way.
        """
        wanted = self._defaults[task]
        if kind is None and any(entry.name == wanted for entry in self.entries()):
            return wanted
        able = [e.name for e in self.current() if e.model and task in e.model.tasks and e.model.fits(kind)]
        if kind is not None:
            able.sort(key=lambda name: (name != wanted, name not in self._defaults.values()))
        if able:
            return able[0]
        what = f"{task} {kind}" if kind else task
        if not self._scanned or any(entry.state == "loading" for entry in self.entries()):
            raise NotReady(f"model: none that can {what} is loaded yet: try again", field="model", retry_after=2)
        raise NotFound(
            f"model: no model in the store can {what}: GET /v1/models lists what each one can", field="model"
        )

    def ready(self) -> bool:
        """Whether the store was looked at, something serves, and every default model that the store has does its
        task."""
        present = {entry.name for entry in self.entries()}
        loaded = {entry.name: entry.model for entry in self.current() if entry.model is not None}
        return (
            self._scanned
            and bool(loaded)
            and all(
                name in loaded and task in loaded[name].tasks
                for task, name in self._defaults.items()
                if name in present
            )
        )

    def get(self, name: str, task: str | None = None) -> LoadedModel:
        """The loaded model that `name` or `name@version` means.

        Raises NotFound, NotReady where it is being loaded or was refused, Invalid where it cannot do the task.
        """
        base, _, version = name.partition("@")
        versions = [e for e in self.entries() if e.name == base and version in ("", e.version)]
        if not versions:
            known = ", ".join(e.name for e in self.current()) or "none yet"
            raise NotFound(f"model: there is no {name[:80]!r}; loaded are {known}", field="model")
        loaded = [e.model for e in versions if e.model is not None]
        if not loaded:
            entry = versions[-1]
            why = "is being loaded: try again" if entry.state == "loading" else f"was refused: {entry.problem}"
            raise NotReady(f"model: {name[:80]!r} {why}", field="model", retry_after=2)
        model = loaded[-1]
        if task is not None and task not in model.tasks:
            able = ", ".join(e.name for e in self.current() if e.model and task in e.model.tasks) or "none"
            raise Invalid(f"model: {model.id!r} cannot {task}; models that can: {able}", field="model")
        return model

    def refresh(self, *, settled: bool = False) -> None:
        """Look at the store once. With `settled`, load what is found at once, as at the start."""
        found = {(d.parent.name, d.name): d for d in self._directories()}
        # What is replaced by renaming is away for a moment: it must be missing twice to be gone.
        missing = {key for key in self._entries if key not in found}
        gone, self._missing = missing & self._missing, missing - self._missing
        for key in gone:
            entry = self._entries.pop(key)
            self._unsettled.pop(key, None)
            log.info("model %s %s was removed", *key)
            self._on_change(entry, False)
        changed = []
        for key, directory in found.items():
            now = _fingerprint(directory)
            known = self._entries.get(key)
            if known is not None and known.fingerprint == now:
                self._unsettled.pop(key, None)
            elif settled or self._unsettled.get(key) == now:
                changed.append((key, directory, now))
                self._unsettled.pop(key, None)
            else:
                self._unsettled[key] = now
        for (name, version), _, now in changed:
            before = self._entries.get((name, version))
            self._entries[name, version] = Entry(name, version, now, model=before.model if before else None)
        # Defaults first: most requests are for them.
        defaults = set(self._defaults.values())
        for (name, version), directory, now in sorted(changed, key=lambda c: c[0][0] not in defaults):
            self._load_entry(Entry(name, version, now), directory)
        self._scanned = True

    def _load_entry(self, entry: Entry, directory: Path) -> None:
        before = self._entries.get((entry.name, entry.version))
        try:
            model = self._load(directory, self._settings, self._device)
            entry = replace(entry, state="ready", model=model)
            log.info("model %s %s is ready in %.2f s", entry.name, entry.version, model.load_seconds)
        except Exception as error:  # one model's surprise must not end the watch over the others
            refused = isinstance(error, ModelRefused)
            problem = str(error) if refused else f"loading failed: {type(error).__name__}: {error}"
            entry = replace(entry, state="refused", problem=problem, model=before.model if before else None)
            log.error("model %s %s was refused: %s", entry.name, entry.version, problem, exc_info=not refused)
        self._entries[entry.name, entry.version] = entry
        self._on_change(entry, True)

    def _directories(self) -> list[Path]:
        """`<model>/<version>` directories; what begins with a dot is being made."""
        try:
            models = [d for d in self._settings.models.iterdir() if d.is_dir() and not d.name.startswith(".")]
            versions = (v for m in models for v in m.iterdir() if v.is_dir() and not v.name.startswith("."))
            return sorted(versions)
        except OSError as error:
            log.error("the model store %s cannot be read: %s", self._settings.models, error.strerror)
            return []

    def _watch(self) -> None:
        self._watch_once(settled=True)
        while not self._stop.wait(self._settings.poll_seconds):
            self._watch_once(settled=False)

    def _watch_once(self, *, settled: bool) -> None:
        try:
            self.refresh(settled=settled)
        except Exception:  # the watch outlives whatever a file system does
            log.exception("the model store could not be looked at")


def _fingerprint(directory: Path) -> Fingerprint:
    marks = []
    for path in sorted(directory.iterdir()):
        try:
            stat = path.stat()
        except OSError:
            continue
        marks.append((path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return tuple(marks)


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else -1 for part in version.split("."))
