"""The desk where files and batches are handed in and asked after, and which sees to it that the batches are worked on."""

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp

from service.batches import lines
from service.batches.contents import Contents
from service.batches.own_thread import OwnThread
from service.batches.records import STATUSES, Batch, StoredFile
from service.batches.store import Store
from service.batches.uploads import Uploads
from service.batches.work import Means, Work
from service.errors import Conflict, Invalid, NotFound, Overloaded
from service.keys import Keys
from service.metrics import Metrics
from service.settings import Settings

log = logging.getLogger("amostra.batches")

_AT_ONCE = 4
"""Batches of one owner that are worked on together."""
_LOOK_SECONDS = 30.0
_GLANCE_SECONDS = 0.004


class Desk:
    """Everything about files and batches. `app` answers the lines, of which one is begun where the engine is `calm`.
    Raises InUse, StoreError, OSError.

    Belongs to the event loop; what waits for a disk is done on threads.
    """

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        app: ASGIApp,
        metrics: Metrics,
        calm: Callable[[], bool],
        keys: Keys | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._calm = calm
        self._contents = Contents(directory)
        self._store = Store(self._contents.database, clock)
        self._contents.sweep(self._store.file_ids())
        self._on_store = OwnThread("amostra-batches")
        self.uploads = Uploads(settings, self._store, self._contents, self._on_store)
        self._halted = False
        self._news = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._supervisor: asyncio.Task[None] | None = None
        self._means = Means(
            settings,
            app,
            self._store,
            self._contents,
            self._on_store,
            asyncio.Semaphore(settings.batch_in_flight),
            self._turn,
            (lambda _: 0.0) if keys is None else keys.allowance,
            self._counted,
            lambda: self._halted,
        )

    def start(self) -> None:
        """Go on with what is there, in the running event loop."""
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise())

    def halt(self) -> None:
        """Begin nothing more and give up what is under way; it is asked for again at the next start."""
        self._halted = True
        for task in (self._supervisor, *self._tasks.values()):
            if task is not None:
                task.cancel()

    def close(self) -> None:
        """Halt, and let go of the directory."""
        self.halt()
        self._on_store.close()
        self._store.close()
        self._contents.close()

    # Files

    async def file(self, owner: str, file_id: str) -> StoredFile:
        """An owner's file. Raises NotFound."""
        file = await self._on_store(self._store.file, owner, file_id)
        if file is None:
            raise NotFound(f"file: there is no {file_id[:80]!r}; GET /v1/files lists what there is", field="file_id")
        return file

    async def files(
        self, owner: str, limit: int, after: str | None, order: str, purpose: str | None
    ) -> list[StoredFile]:
        """An owner's files by age, behind the one with the id `after`. Raises NotFound."""
        if after is not None:
            await self.file(owner, after)
        return await self._on_store(self._store.files, owner, limit, after, order, purpose)

    def content(self, file: StoredFile) -> Path:
        """Where the bytes of a file are."""
        return self._contents.path(file.id)

    async def delete(self, owner: str, file_id: str) -> None:
        """Delete a file. Raises NotFound, Conflict."""
        await self.file(owner, file_id)
        if not await self._on_store(self._store.delete_file, owner, file_id):
            raise Conflict(
                f"file: {file_id} is the input of a batch that is under way: cancel it first", field="file_id"
            )
        await asyncio.to_thread(self._contents.remove, file_id)
        self._news.set()

    # Batches

    async def create(
        self,
        owner: str,
        input_file_id: str,
        endpoint: str,
        window: str,
        metadata: dict[str, str] | None,
        output_seconds: int | None,
    ) -> Batch:
        """Take a batch in. Raises NotFound, Invalid, Overloaded."""
        file = await self.file(owner, input_file_id)
        if file.purpose != "batch":
            raise Invalid(
                f"input_file_id: expected a file with the purpose batch, found {file.purpose}", field="input_file_id"
            )
        if await self._on_store(self._store.count_batches, owner) >= self._settings.batch_files:
            raise Overloaded(
                f"there are {self._settings.batch_files} batches: they are forgotten "
                f"{self._settings.batch_keep_days:g} days after they were made; or raise AMOSTRA_BATCH_FILES"
            )
        seconds = int(window.removesuffix("h")) * 3600
        kept = self.keep_seconds if output_seconds is None else output_seconds
        batch = await self._on_store(
            self._store.add_batch, owner, input_file_id, endpoint, window, seconds, metadata, kept
        )
        self._news.set()
        return batch

    async def batch(self, owner: str, batch_id: str) -> Batch:
        """An owner's batch. Raises NotFound."""
        batch = await self._on_store(self._store.batch, owner, batch_id)
        if batch is None:
            raise NotFound(
                f"batch: there is no {batch_id[:80]!r}; GET /v1/batches lists what there is", field="batch_id"
            )
        return batch

    async def batches(self, owner: str, limit: int, after: str | None) -> list[Batch]:
        """An owner's batches, the youngest first, behind the one with the id `after`. Raises NotFound."""
        if after is not None:
            await self.batch(owner, after)
        return await self._on_store(self._store.batches, owner, limit, after)

    async def cancel(self, owner: str, batch_id: str) -> Batch:
        """Cancel a batch that has not come to its end. Raises NotFound, Conflict."""
        await self.batch(owner, batch_id)
        batch = await self._on_store(self._store.cancel, batch_id)
        if batch.status != "cancelling":
            raise Conflict(f"batch: {batch_id} is {batch.status}: there is nothing left to cancel", field="batch_id")
        if batch_id in self._tasks:
            self._tasks[batch_id].cancel()
        self._news.set()
        return batch

    # What goes on behind it

    @property
    def keep_seconds(self) -> int:
        """How long a file is kept where nobody says anything else."""
        return int(self._settings.batch_keep_days * 86_400)

    async def _supervise(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._tidy()
                owners = Counter(self._owner_of(task) for task in self._tasks.values())
                for batch in await self._on_store(self._store.open_batches):
                    asks = batch.status in ("validating", "in_progress") and self._store.now() < batch.expires_at
                    if batch.id not in self._tasks and (owners[batch.owner] < _AT_ONCE or not asks):
                        owners[batch.owner] += 1
                        self._begin(batch)
            except (OSError, sqlite3.Error):  # a full disk may be emptied: it is tried again
                log.exception("the batches cannot be looked after")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._news.wait()

    def _begin(self, batch: Batch) -> None:
        name = f"{batch.id} {batch.owner}"
        task = self._tasks[batch.id] = asyncio.get_running_loop().create_task(Work(self._means, batch).run(), name=name)
        task.add_done_callback(partial(self._ended, batch.id))

    @staticmethod
    def _owner_of(task: asyncio.Task) -> str:
        return task.get_name().partition(" ")[2]

    def _ended(self, batch_id: str, task: asyncio.Task) -> None:
        self._tasks.pop(batch_id, None)
        if task.cancelled() or task.exception() is None or isinstance(task.exception(), lines.Halted):
            self._news.set()
        else:  # the batch stays open, and is tried again at the next look
            log.error("%s does not go on", batch_id, exc_info=task.exception())

    async def _tidy(self) -> None:
        """Let go of what is too old, and count what there is."""
        for file_id in await self._on_store(self._store.expire, self.keep_seconds):
            await asyncio.to_thread(self._contents.remove, file_id)
        counts = await self._on_store(self._store.counts)
        for status in STATUSES:
            self._metrics.batches.labels(status).set(counts.get(status, 0))
        self._metrics.batch_bytes.set(counts["bytes"])

    async def _turn(self) -> None:
        """Wait for a moment in which nobody is in a hurry; not for ever, so that batches do go on."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.limits.patience_seconds
        while not self._calm() and loop.time() < until:
            await asyncio.sleep(_GLANCE_SECONDS)

    def _counted(self, good: bool) -> None:
        self._metrics.batch_lines.labels("completed" if good else "failed").inc()
