"""The model store as the service sees it: watched by polling, loaded in the background, asked by name.

Dropping `<model>/<version>/` into the store serves it without a restart. One that became bad while its former content is
serving keeps serving that content, and says so.

Where a memory budget is set, a model that is asked for unloads those used longest ago. One that was merely found in the
store unloads nobody: if it does not fit, it is checked, and rests until it is asked for.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from service.engine.ticket import Model
from service.entry import Entry, State
from service.errors import Invalid, NotFound, NotReady
from service.loading import load_model
from service.memory import Memory, bytes_of, give_back
from service.model import TASKS, LoadedModel
from service.sessions import ModelRefused
from service.settings import Settings
from service.store import Key, Store

log = logging.getLogger("amostra.catalog")


class Catalog:
    """All models of the store.

    `on_change(entry, present)` is told of each entry that was loaded, unloaded or refused, and of each that is gone.
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
        self._store = Store(settings.models)
        self._defaults: dict[str, str] = {task: getattr(settings, f"default_{task}") for task in TASKS}
        self._scanned = False
        self._entries: dict[Key, Entry] = {}
        self._found: dict[tuple[str, str | None], Entry] = {}  # what names meant, until an entry changes
        self._memory = Memory(settings.memory_mb * 2**20 or None)
        self._changing = threading.Lock()
        self._reloads: dict[Key, Future[LoadedModel]] = {}
        self._loader = ThreadPoolExecutor(1, "amostra-loader")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="amostra-catalog", daemon=True)

    def start(self) -> None:
        """Load what is there in the background, and keep watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; what is loaded stays."""
        self._stop.set()
        self._thread.join()
        self._loader.shutdown(cancel_futures=True)

    def entries(self) -> list[Entry]:
        """Every version of every model, by name and version."""
        return sorted(self._entries.values(), key=lambda e: (e.name, e.order))

    def current(self) -> list[Entry]:
        """The entry that serves each name: the highest version that can be asked for."""
        return list({entry.name: entry for entry in self.entries() if entry.card is not None}.values())

    def default(self, task: str, kind: str | None = None) -> str:
        """The model of a task where a request names none: the setting's, if the store has it, otherwise the first by
        name that can. `kind` asks for a model of that kind of data; a default of another task goes before the rest.

        Raises NotFound where no model can do the task, NotReady while one that can may still be on its way.
        """
        wanted = self._defaults[task]
        if kind is None and any(entry.name == wanted for entry in list(self._entries.values())):
            return wanted
        able = [e.name for e in self.current() if e.card and task in e.card.tasks and e.card.fits(kind)]
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
        serving = {entry.name: entry.card for entry in self.current() if entry.card is not None}
        return (
            self._scanned
            and bool(serving)
            and all(
                name in serving and task in serving[name].tasks
                for task, name in self._defaults.items()
                if name in present
            )
        )

    def find(self, name: str, task: str | None = None) -> Entry:
        """What `name` or `name@version` means: an entry with a card, and with a model unless that was unloaded.

        Raises NotFound, NotReady where it is being loaded or was refused, Invalid where it cannot do the task.
        """
        known = self._found  # another one once an entry has changed
        entry = known.get((name, task))
        if entry is None:
            entry = known[name, task] = self._look_up(name, task)
        self._memory.use(entry.key)
        return entry

    def _look_up(self, name: str, task: str | None) -> Entry:
        base, _, version = name.partition("@")
        found = [e for e in list(self._entries.values()) if e.name == base and version in ("", e.version)]
        versions = sorted(found, key=lambda e: e.order)
        if not versions:
            known = ", ".join(e.name for e in self.current()) or "none yet"
            raise NotFound(f"model: there is no {name[:80]!r}; loaded are {known}", field="model")
        entry = next((e for e in reversed(versions) if e.card is not None), versions[-1])
        if entry.card is None:
            raise entry.not_ready()
        if task is not None and task not in entry.card.tasks:
            able = ", ".join(e.name for e in self.current() if e.card and task in e.card.tasks) or "none"
            raise Invalid(f"model: {entry.name!r} cannot {task}; models that can: {able}", field="model")
        return entry

    def reload(self, entry: Entry) -> "Future[LoadedModel]":
        """Load a model that was unloaded, on a thread; whoever asks for it meanwhile gets the same future.

        The future raises NotFound or NotReady where the model cannot be loaded any more.
        """
        future = self._reloads.get(entry.key)
        if future is None:
            future = self._reloads[entry.key] = self._loader.submit(self._load_again, entry.key)
            future.add_done_callback(lambda _: self._reloads.pop(entry.key, None))
        return future

    def refuse(self, model: Model, why: str) -> None:
        """Serve a model no more, until its directory changes: something was found out about it while it ran. Returns at
        once; it is done on a thread."""
        with suppress(RuntimeError):  # it is stopping
            self._loader.submit(self._refuse, model.key, why)

    def refresh(self, *, settled: bool = False) -> None:
        """Look at the store once. With `settled`, load what is found at once, as at the start."""
        known = {key: entry.fingerprint for key, entry in self._entries.items()}
        changed, gone = self._store.look(known, settled=settled)
        for key in gone:
            with self._changing:
                entry = self._entries.pop(key)
                self._found = {}
            self._memory.forget(key)
            log.info("model %s %s was removed", *key)
            self._on_change(entry, False)
        with self._changing:
            for key, now in changed.items():
                self._keep(self._succeeding(Entry(*key, now)))
        # Defaults first: most requests are for them.
        defaults = set(self._defaults.values())
        for key in sorted(changed, key=lambda key: key[0] not in defaults):
            with self._changing:
                self._load_entry(Entry(*key, changed[key]))
                if self._over(self._entries[key]):
                    self._unload(key)
            give_back()
        self._scanned = True

    def _refuse(self, key: str, why: str) -> None:
        with self._changing:
            for entry in [e for e in self._entries.values() if e.model is not None and e.model.key == key]:
                state: State = "refused" if entry.state == "ready" else entry.state
                entry = replace(entry, state=state, problem=why, card=None, model=None, bytes=0)
                self._keep(entry)
                log.error("model %s %s was refused: it %s", entry.name, entry.version, why)
                self._on_change(entry, True)

    def _load_again(self, key: Key) -> LoadedModel:
        with self._changing:
            entry = self._entries.get(key)
            if entry is not None and entry.state == "unloaded":
                self._make_room(entry)
                self._load_entry(entry)
                entry = self._entries[key]
                if entry.state == "refused":  # it was sound before: when its files can be read again, it is tried again
                    entry = self._keep(replace(entry, fingerprint=()))
                self._make_room(entry)  # its size may have been another before
        give_back()
        if entry is None:
            raise NotFound(f"model: {'@'.join(key)!r} was removed", field="model")
        if entry.model is None:
            raise entry.not_ready()
        return entry.model

    def _load_entry(self, entry: Entry) -> None:
        try:
            self._check_size(entry.file_bytes)
            model = self._load(self._store.directory(entry.key), self._settings, self._device)
            size = bytes_of(model, entry.file_bytes)
            self._check_size(size)
            entry = replace(entry, state="ready", card=model.card, model=model, bytes=size)
            log.info("model %s %s is ready in %.2f s", entry.name, entry.version, model.load_seconds)
        except Exception as error:  # one model's surprise must not end the watch over the others
            refused = isinstance(error, ModelRefused)
            problem = str(error) if refused else f"loading failed: {type(error).__name__}: {error}"
            entry = self._succeeding(replace(entry, state="refused", problem=problem))
            log.error("model %s %s was refused: %s", entry.name, entry.version, problem, exc_info=not refused)
        self._keep(entry)
        self._on_change(entry, True)

    def _keep(self, entry: Entry) -> Entry:
        self._entries[entry.key] = entry
        self._found = {}
        return entry

    def _succeeding(self, entry: Entry) -> Entry:
        """The entry with the model of the one before it, which serves on."""
        before = self._entries.get(entry.key)
        if before is None or before.model is None:
            return replace(entry, card=None, bytes=0)
        return replace(entry, card=before.card, model=before.model, bytes=before.bytes)

    def _check_size(self, size: int) -> None:
        budget = self._memory.budget
        if budget is not None and size > budget:
            raise ModelRefused(
                f"memory: expected a model of at most {budget / 2**20:.0f} MiB, found one of about "
                f"{size / 2**20:.0f} MiB: raise AMOSTRA_MEMORY_MB"
            )

    def _over(self, entry: Entry) -> list[Key]:
        """What would have to go so that this entry fits. Content that became bad cannot be loaded again: it stays."""
        others = [e for e in self._entries.values() if e.model is not None and e.key != entry.key]
        staying = sum(e.bytes for e in others if e.state != "ready")
        return self._memory.to_unload({e.key: e.bytes for e in others if e.state == "ready"}, staying + entry.bytes)

    def _make_room(self, entry: Entry) -> None:
        for key in self._over(entry):
            self._unload(key)

    def _unload(self, key: Key) -> None:
        """Let go of a model; jobs under way hold it until they end."""
        entry = self._entries[key]
        if entry.state == "ready":
            entry = self._keep(replace(entry, state="unloaded", model=None))
            log.info("model %s %s is unloaded", *key)
            self._on_change(entry, True)

    def _watch(self) -> None:
        self._watch_once(settled=True)
        while not self._stop.wait(self._settings.poll_seconds):
            self._watch_once(settled=False)

    def _watch_once(self, *, settled: bool) -> None:
        try:
            self.refresh(settled=settled)
        except Exception:  # the watch outlives whatever a file system does
            log.exception("the model store could not be looked at")
