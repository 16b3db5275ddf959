"""One batch, from its first state to its last.

    validating ─▶ in_progress ─▶ finalizing ─▶ completed
         └─────────────┴───────▶ finalizing ─▶ failed, expired
         └─────────────┴───────▶ cancelling ─▶ cancelled

Every state is on the disk before anything is done in it, so that a batch whose process ended goes on from where it was.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.types import ASGIApp

from service.batches import lines, outcome
from service.batches.contents import Contents
from service.batches.inside import Answer, ask
from service.batches.outcome import Outcome
from service.batches.own_thread import OwnThread
from service.batches.publishing import publish
from service.batches.records import Batch, Status
from service.batches.store import Full, Store
from service.errors import Unauthorized
from service.settings import Settings

log = logging.getLogger("amostra.batches")

_ASK_AGAIN = (429, 503)
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_READ_BYTES = 2**18
"""Of bodies that are read ahead."""


@dataclass(frozen=True)
class Means:
    """What the work on all batches has in common.

    `slots` bounds the lines under way, `turn` waits until the next one may begin, `allowance` tells how many seconds the
    owner has to wait for time of the machine, `counted` is told of each result, and `halted` whether the process stops.
    """

    settings: Settings
    app: ASGIApp
    store: Store
    contents: Contents
    on_store: OwnThread
    slots: asyncio.Semaphore
    turn: Callable[[], Awaitable[None]]
    allowance: Callable[[str], float]
    counted: Callable[[bool], None]
    halted: Callable[[], bool]


class Work:
    """What is left to do for a batch."""

    def __init__(self, means: Means, batch: Batch) -> None:
        self._means = means
        self._batch = batch
        self._path = means.contents.path(batch.input_file_id)

    async def run(self) -> None:
        """Do it. May be cancelled at any moment, and begun again by another object."""
        means = self._means
        if self._batch.status in ("validating", "in_progress"):
            try:
                async with asyncio.timeout(self._batch.expires_at - means.store.now()):
                    await self._validate()
                    if self._batch.status == "in_progress":
                        await self._answer()
            except TimeoutError:
                await self._finalize("expired")
        if self._batch.status in ("finalizing", "cancelling"):
            await self._publish()

    async def _validate(self) -> None:
        if self._batch.status != "validating":
            return
        means, settings = self._means, self._means.settings
        check = partial(lines.check, self._path, self._batch.endpoint, settings.batch_lines, settings.max_body_bytes)
        try:
            total = await asyncio.to_thread(check, means.halted)
        except lines.BadLines as bad:
            await self._finalize("failed", bad.errors)
        else:
            self._batch = await means.on_store(means.store.begin, self._batch.id, total)

    async def _answer(self) -> None:
        means = self._means
        done = await means.on_store(means.store.done, self._batch.id)
        left = (item for item in lines.read(self._path, means.settings.max_body_bytes) if item[0] not in done)
        try:
            async with asyncio.TaskGroup() as group:
                while some := await asyncio.to_thread(_some, left, self._batch.id):
                    for number, custom_id, content in some:
                        await self._begin(group, number, custom_id, content)
        except* Full:
            message = (
                f"the answers take more than the {means.settings.batch_storage_mb} MiB that one key's files may take: "
                "delete files, send fewer requests, or raise AMOSTRA_BATCH_STORAGE_MB"
            )
            await self._finalize("failed", [_error("storage_full", message)])
        except* Unauthorized as gone:
            await self._finalize("failed", [_error("unauthorized", str(gone.exceptions[0]))])
        else:
            await self._finalize("completed")

    async def _begin(self, group: asyncio.TaskGroup, number: int, custom_id: str, content: bytes) -> None:
        """Begin a line as soon as there is a place for it and nobody is in a hurry."""
        means = self._means
        await means.slots.acquire()
        try:
            await means.turn()
            while (seconds := means.allowance(self._batch.owner)) > 0:
                await asyncio.sleep(min(seconds, _LONGEST_PAUSE_SECONDS))
        except BaseException:
            means.slots.release()
            raise
        task = group.create_task(self._line(number, custom_id, content))
        task.add_done_callback(lambda _: means.slots.release())

    async def _line(self, number: int, custom_id: str, content: bytes) -> None:
        means, batch_id = self._means, self._batch.id
        came = _outcome(await self._asked(number, content))
        text = outcome.written(batch_id, number, custom_id, came)
        most_bytes = means.settings.batch_storage_mb * 2**20
        if await means.on_store(means.store.add_result, batch_id, number, came.good, text, most_bytes):
            means.counted(came.good)

    async def _asked(self, number: int, content: bytes) -> Answer:
        """The answer to a line; where there was no room for it, it is asked again."""
        means, batch = self._means, self._batch
        request_id = outcome.request_id(batch.id, number)
        while True:
            seconds = max(1.0, batch.expires_at - means.store.now())
            answer = await ask(means.app, batch.endpoint, content, batch.owner, seconds, request_id)
            if answer.status not in _ASK_AGAIN:
                return answer
            pause = answer.headers.get("retry-after", "")
            seconds = float(pause) if pause.isdecimal() else _PAUSE_SECONDS
            await asyncio.sleep(min(seconds, _LONGEST_PAUSE_SECONDS))

    async def _finalize(self, ending: Status, errors: list[dict[str, Any]] | None = None) -> None:
        means = self._means
        self._batch = await means.on_store(means.store.finalize, self._batch.id, ending, errors)

    async def _publish(self) -> None:
        means, settings = self._means, self._means.settings
        made = await asyncio.to_thread(publish, means.contents, self._batch, settings.max_body_bytes, means.halted)
        end = means.store.end
        self._batch = await means.on_store(end, self._batch.id, made.output, made.error, made.unanswered)
        batch = self._batch
        log.info("%s %s: %d of %d lines answered", batch.id, batch.status, batch.completed, batch.total)


def _some(left: Iterator[tuple[int, lines.Line]], batch_id: str) -> list[tuple[int, str, bytes]]:
    """The next lines' numbers, ids and bodies; none at the end."""
    some: list[tuple[int, str, bytes]] = []
    size = 0
    for number, line in left:
        content = line.content(batch_id)
        some.append((number, line.custom_id, content))
        size += len(content)
        if size > _READ_BYTES:
            break
    return some


def _outcome(answer: Answer) -> Outcome:
    if answer.is_json:
        return Outcome(answer.status, answer.body)
    kind = answer.headers.get("content-type", "nothing")
    message = f"the answer is {kind}, and a file of answers takes JSON only: leave stream and response_format out"
    return Outcome(code="not_json", message=message)


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": None}
