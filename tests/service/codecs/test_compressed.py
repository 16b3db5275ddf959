"""Compressed bodies: what was packed comes out, and no more than is allowed."""

import gzip
import zlib

import pytest

from service.codecs.compressed import unpack
from service.errors import BadRequest, TooLarge, UnsupportedMediaType

CONTENT = bytes(range(256)) * 40
PACKED = {"gzip": gzip.compress(CONTENT), "deflate": zlib.compress(CONTENT), "identity": CONTENT, "": CONTENT}


@pytest.mark.parametrize("encoding", PACKED)
def test_it_comes_out(encoding: str) -> None:
    assert unpack(PACKED[encoding], encoding, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_no_more_than_the_limit(encoding: str) -> None:
    with pytest.raises(TooLarge, match=f"more than {len(CONTENT) - 1} bytes"):
        unpack(PACKED[encoding], encoding, len(CONTENT) - 1)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_broken_is_refused(encoding: str) -> None:
    whole = PACKED[encoding]
    for blob in (whole[:-1], whole[:5], b"", whole + b"x", whole + whole, b"\x00" * 20):
        with pytest.raises(BadRequest, match=encoding):
            unpack(blob, encoding, len(CONTENT))


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="expected gzip or deflate"):
        unpack(CONTENT, encoding, len(CONTENT))
