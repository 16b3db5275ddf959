"""Bodies that came compressed, with gzip or zlib's "deflate", unpacked within a limit."""

import zlib

from service.errors import BadRequest, TooLarge, UnsupportedMediaType

ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def unpack(blob: bytes, encoding: str, limit: int) -> bytes:
    """The body behind a content encoding; `identity` and none change nothing.

    Raises UnsupportedMediaType, BadRequest (broken, or cut short), TooLarge as soon as there is more than the limit.
    """
    if encoding in ("", "identity"):
        return blob
    if encoding not in ENCODINGS:
        raise UnsupportedMediaType(
            f"content-encoding: expected {' or '.join(ENCODINGS)}, found {encoding[:40]!r}: send it as it is"
        )
    decoder = zlib.decompressobj(ENCODINGS[encoding])
    try:
        whole = decoder.decompress(blob, limit + 1)
    except zlib.error as error:
        raise BadRequest(f"body: expected {encoding}, found {error}") from error
    if len(whole) > limit:
        raise TooLarge(f"body: more than {limit} bytes when unpacked: send less at once")
    if not decoder.eof or decoder.unused_data:
        raise BadRequest(f"body: expected one whole stream of {encoding}, found one cut short, or something behind it")
    return whole
