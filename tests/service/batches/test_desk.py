"""The desk with an application of a few lines: what is asked again, what ends too late, and what goes on after a restart."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from service.api.terms import TERMS
from service.batches.desk import Desk
from service.batches.records import Batch
from service.engine.batch import BACKGROUND
from service.keys import Keys, new_key
from service.metrics import Metrics
from service.settings import Settings

ENDPOINT = "/v1/score"
Answer = Callable[[dict[str, Any]], Awaitable[Response]]


class App:
    """Answers with what `answer` makes of a body, and remembers what was asked."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.asked: Counter[int] = Counter()
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body = await Request(scope, receive).json()
        self.asked[body["inputs"]] += 1
        await (await self._answer(body))(scope, receive, send)


async def echo(body: dict[str, Any]) -> Response:
    return JSONResponse(body)


def open_desk(folder: Path, answer: Answer = echo, **options: Any) -> tuple[Desk, App]:
    app = App(answer)
    settings = Settings(batch_in_flight=4, **options.pop("settings", {}))
    desk = Desk(folder, settings, app, Metrics(), lambda: True, **options)
    desk.start()
    return desk, app


async def begin(desk: Desk, count: int, owner: str = "") -> Batch:
    lines = ({"custom_id": f"row {i}", "method": "POST", "url": ENDPOINT, "body": {"inputs": i}} for i in range(count))
    async with desk.uploads.begin(owner) as upload:
        await upload.write(b"\n".join(map(orjson.dumps, lines)))
        file = await upload.keep("rows.jsonl", 10**6)
    return await desk.create(owner, file.id, ENDPOINT, "24h", None, None)


async def until(desk: Desk, batch: Batch, is_so: Callable[[Batch], bool]) -> Batch:
    async with asyncio.timeout(20):
        while not is_so(batch):
            await asyncio.sleep(0.002)
            batch = await desk.batch(batch.owner, batch.id)
    return batch


def over(batch: Batch) -> bool:
    return batch.status in ("completed", "failed", "expired", "cancelled")


async def written(desk: Desk, batch: Batch, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    path = desk.content(await desk.file(batch.owner, file_id))
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_lines_come_from_within_and_are_answered_in_the_order_of_the_input(tmp_path: Path) -> None:
    async def late_first(body: dict[str, Any]) -> Response:
        await asyncio.sleep(0.02 / (1 + body["inputs"]))
        return JSONResponse(body)

    async def talk() -> None:
        desk, app = open_desk(tmp_path, late_first)
        batch = await until(desk, await begin(desk, 10), over)
        assert [line["custom_id"] for line in await written(desk, batch, batch.output_file_id)] == [
            f"row {i}" for i in range(10)
        ]
        terms = app.scopes[0][TERMS]
        assert (terms.priority, terms.strict, terms.owner) == (BACKGROUND, False, "")
        assert 86_000 < terms.seconds <= 86_400
        desk.close()

    asyncio.run(talk())


@pytest.mark.parametrize("status", [429, 503])
def test_what_there_was_no_room_for_is_asked_again(tmp_path: Path, status: int) -> None:
    async def talk() -> None:
        refused: set[int] = set()

        async def sometimes(body: dict[str, Any]) -> Response:
            if body["inputs"] % 2 and body["inputs"] not in refused:
                refused.add(body["inputs"])
                return JSONResponse({}, status, {"retry-after": "0"})
            return JSONResponse(body)

        desk, app = open_desk(tmp_path, sometimes)
        batch = await until(desk, await begin(desk, 6), over)
        assert (batch.completed, batch.failed) == (6, 0)
        assert app.asked == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1, 5: 2}
        desk.close()

    asyncio.run(talk())


def test_no_more_lines_are_under_way_than_may_be(tmp_path: Path) -> None:
    async def talk() -> None:
        now = most = 0

        async def slow(body: dict[str, Any]) -> Response:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.005)
            now -= 1
            return JSONResponse(body)

        desk, _ = open_desk(tmp_path, slow)
        batches = [await begin(desk, 20) for _ in range(3)]
        for batch in batches:
            await until(desk, batch, over)
        assert most == 4
        desk.close()

    asyncio.run(talk())


def test_what_is_not_answered_in_its_window_expires(tmp_path: Path) -> None:
    async def never_last(body: dict[str, Any]) -> Response:
        if body["inputs"] == 3:
            await asyncio.Event().wait()
        return JSONResponse(body)

    async def talk() -> None:
        desk, _ = open_desk(tmp_path, never_last)
        batch = await until(desk, await begin(desk, 4), lambda batch: batch.completed == 3)
        desk.close()
        later = batch.expires_at - 0.5
        desk, _ = open_desk(tmp_path, never_last, clock=lambda: later)
        batch = await until(desk, batch, over)
        assert (batch.status, batch.completed, batch.failed) == ("expired", 3, 1)
        assert batch.expired_at is not None
        (line,) = await written(desk, batch, batch.error_file_id)
        assert (line["custom_id"], line["response"], line["error"]["code"]) == ("row 3", None, "batch_expired")
        assert len(await written(desk, batch, batch.output_file_id)) == 3
        desk.close()

    asyncio.run(talk())


def test_a_restart_asks_for_what_has_no_answer_and_nothing_else(tmp_path: Path) -> None:
    async def talk() -> None:
        gate = asyncio.Event()

        async def half(body: dict[str, Any]) -> Response:
            if body["inputs"] >= 10:
                await gate.wait()
            return JSONResponse(body)

        desk, first = open_desk(tmp_path, half)
        batch = await until(desk, await begin(desk, 20), lambda batch: batch.completed == 10)
        desk.halt()
        await asyncio.sleep(0)
        desk.close()
        desk, second = open_desk(tmp_path)
        batch = await until(desk, batch, over)
        assert batch.completed == 20
        assert set(second.asked) == set(range(10, 20))
        assert {number: count for number, count in first.asked.items() if number < 10} == dict.fromkeys(range(10), 1)
        assert {scope["path"] for scope in second.scopes} == {ENDPOINT}
        lines = await written(desk, batch, batch.output_file_id)
        assert [line["response"]["body"]["inputs"] for line in lines] == list(range(20))
        desk.close()

    asyncio.run(talk())


def test_a_disk_that_fails_for_a_moment_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk() -> None:
        desk, _ = open_desk(tmp_path)
        contents, tries = desk._contents, Counter[str]()
        real = contents.begin

        def begin_again() -> Any:
            tries["begin"] += 1
            if tries["begin"] == 2:  # the first is the upload
                raise OSError("no space left on device")
            return real()

        monkeypatch.setattr(contents, "begin", begin_again)
        batch = await begin(desk, 3)
        await until(desk, batch, lambda batch: batch.status == "finalizing" and tries["begin"] == 2)
        await asyncio.sleep(0.02)
        desk._news.set()  # the next look
        batch = await until(desk, batch, over)
        assert (batch.status, batch.completed) == ("completed", 3)
        desk.close()

    asyncio.run(talk())


def test_a_key_that_is_gone_ends_its_batches(tmp_path: Path) -> None:
    _, digest = new_key()
    file = tmp_path / "keys.toml"
    file.write_text(f'[nightly]\nsha256 = "{digest}"\n')

    async def talk() -> None:
        desk, _ = open_desk(tmp_path / "batches", keys=Keys(file))
        assert (await until(desk, await begin(desk, 3, "nightly"), over)).status == "completed"
        batch = await until(desk, await begin(desk, 3, "gone"), over)
        assert batch.status == "failed"
        assert batch.errors is not None
        assert batch.errors[0]["code"] == "unauthorized"
        desk.close()

    asyncio.run(talk())


def test_a_key_s_batch_waits_for_compute_time(tmp_path: Path) -> None:
    _, digest = new_key()
    file = tmp_path / "keys.toml"
    file.write_text(f'[nightly]\nsha256 = "{digest}"\ncompute_seconds_per_minute = 600\n')

    async def talk() -> None:
        keys = Keys(file)
        keys.charge("nightly", 600 + 2)  # which is there again in a fifth of a second
        desk, app = open_desk(tmp_path / "batches", keys=keys)
        batch = await begin(desk, 3, "nightly")
        await until(desk, batch, lambda batch: batch.status == "in_progress")
        assert not app.asked
        assert (await until(desk, batch, over)).completed == 3
        desk.close()

    asyncio.run(talk())


def test_few_batches_of_one_owner_are_worked_on_and_the_others_can_be_cancelled(tmp_path: Path) -> None:
    async def talk() -> None:
        gate = asyncio.Event()

        async def wait(body: dict[str, Any]) -> Response:
            await gate.wait()
            return JSONResponse(body)

        desk, _ = open_desk(tmp_path, wait)
        batches = [await begin(desk, 2) for _ in range(6)]
        for batch in batches[:4]:
            await until(desk, batch, lambda batch: batch.status == "in_progress")
        other = await begin(desk, 2, "other")
        await until(desk, other, lambda batch: batch.status == "in_progress")
        assert (await desk.batch("", batches[4].id)).status == "validating"
        await desk.cancel("", batches[5].id)
        assert (await until(desk, batches[5], over)).status == "cancelled"
        gate.set()
        for batch in (*batches[:5], other):
            assert (await until(desk, batch, over)).status == "completed"
        desk.close()

    asyncio.run(talk())
