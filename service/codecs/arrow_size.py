"""How many rows and bytes an Arrow stream unpacks to, from the headers of its messages, before anything is unpacked.

A compressed buffer of a few kilobytes may stand for gigabytes. Each message's header is a flatbuffer of Arrow's format
(Message.fbs: header_type 1, header 2; RecordBatch: length 0, buffers 2, compression 3; DictionaryBatch: data 1), and each
compressed buffer begins with the length that it unpacks to, or -1 where it is as it is.
"""

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow.ipc import MessageReader

_DICTIONARY, _RECORDS = 2, 3
_BUFFER = struct.Struct("<qq")


def unpacked(messages: "MessageReader") -> tuple[int, int]:
    """Rows of all record batches, and bytes of all buffers.

    Raises struct.error, IndexError or ArrowInvalid where it is no Arrow stream.
    """
    rows = size = 0
    for message in messages:
        header, body = memoryview(message.metadata), memoryview(message.body or b"")
        root = _table(header, 0)
        kind = _slot(header, root, 1)
        batch = _slot(header, root, 2)
        if kind is None or batch is None or header[kind] not in (_DICTIONARY, _RECORDS):
            continue
        records = _table(header, batch)
        if header[kind] == _DICTIONARY:
            data = _slot(header, records, 1)
            if data is None:
                continue
            records = _table(header, data)
        else:
            length = _slot(header, records, 0)
            rows += abs(struct.unpack_from("<q", header, length)[0]) if length is not None else 0
        size += _bytes(header, records, body)
    return rows, size


def _bytes(header: memoryview, records: int, body: memoryview) -> int:
    buffers, packed = _slot(header, records, 2), _slot(header, records, 3) is not None
    if buffers is None:
        return 0
    at = _table(header, buffers)
    total = 0
    for number in range(struct.unpack_from("<I", header, at)[0]):
        offset, length = _BUFFER.unpack_from(header, at + 4 + _BUFFER.size * number)
        whole = struct.unpack_from("<q", body, offset)[0] if packed and length >= 8 else -1
        total += abs(length) if whole < 0 else whole
    return total


def _table(header: memoryview, at: int) -> int:
    """Where an offset leads to."""
    return at + int(struct.unpack_from("<I", header, at)[0])


def _slot(header: memoryview, table: int, number: int) -> int | None:
    """Where a table's field stands, None where it has its default."""
    fields = table - struct.unpack_from("<i", header, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", header, fields)[0]:
        return None
    offset = struct.unpack_from("<H", header, fields + 4 + 2 * number)[0]
    return table + offset if offset else None
