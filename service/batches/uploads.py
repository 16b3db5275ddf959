"""Files that are coming in, each within a bound of its own and together with what its owner has within the owner's."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.batches.contents import Contents, Writing
from service.batches.own_thread import OwnThread
from service.batches.records import StoredFile
from service.batches.store import Store
from service.errors import Overloaded, TooLarge
from service.settings import Settings


class Uploads:
    """Takes files in. What is under way counts as if it were there."""

    def __init__(self, settings: Settings, store: Store, contents: Contents, on_store: OwnThread) -> None:
        self._settings = settings
        self._store = store
        self._contents = contents
        self._on_store = on_store
        self._under_way: Counter[str] = Counter()
        self._coming: Counter[str] = Counter()  # bytes of those

    @asynccontextmanager
    async def begin(self, owner: str) -> AsyncIterator["Upload"]:
        """A new file, which is gone at the end of the block if it was not kept. Raises Overloaded."""
        most = self._settings.batch_files
        self._under_way[owner] += 1
        try:
            count, size = await self._on_store(self._store.kept, owner)
            if count + self._under_way[owner] > most:
                raise Overloaded(
                    f"file: {count} are there, the limit is {most}: delete some, or raise AMOSTRA_BATCH_FILES"
                )
            with await asyncio.to_thread(self._contents.begin) as writing:
                try:
                    yield Upload(self, owner, writing, self._settings.batch_storage_mb * 2**20 - size)
                finally:
                    self._coming[owner] -= writing.bytes
        finally:
            self._under_way[owner] -= 1
            self._under_way, self._coming = +self._under_way, +self._coming

    def check(self, owner: str, more: int, bytes_now: int, room: int) -> None:
        """Whether there is room for more. Raises TooLarge."""
        settings = self._settings
        if bytes_now + more > settings.batch_file_bytes:
            raise TooLarge(
                f"file: more than {settings.batch_file_bytes} bytes: send several files, or raise AMOSTRA_BATCH_FILE_BYTES",
                field="file",
            )
        if self._coming[owner] + more > room:
            raise TooLarge(
                f"file: together with those that are there it is more than {settings.batch_storage_mb} MiB: delete some, "
                "or raise AMOSTRA_BATCH_STORAGE_MB",
                field="file",
            )
        self._coming[owner] += more

    async def kept(self, owner: str, writing: Writing, filename: str, seconds: int) -> StoredFile:
        """Remember a file that is whole."""
        await asyncio.to_thread(writing.keep)
        add = self._store.add_file
        return await self._on_store(add, writing.id, owner, filename, "batch", writing.bytes, seconds)


class Upload:
    """One file. `room` is how many bytes its owner may have under way."""

    def __init__(self, uploads: Uploads, owner: str, writing: Writing, room: int) -> None:
        self._uploads = uploads
        self._owner = owner
        self._writing = writing
        self._room = room

    async def write(self, piece: bytes) -> None:
        """Add a piece. Raises TooLarge."""
        self._uploads.check(self._owner, len(piece), self._writing.bytes, self._room)
        await asyncio.to_thread(self._writing.write, piece)

    async def keep(self, filename: str, seconds: int) -> StoredFile:
        """All pieces are there: the file is kept for so many seconds."""
        return await self._uploads.kept(self._owner, self._writing, filename, seconds)
