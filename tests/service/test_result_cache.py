"""The cache of results: exact keys, bounded bytes, the least recently used goes first."""

from dataclasses import dataclass

import numpy as np
import pytest

from service.result_cache import ResultCache, digest, size_of

KB = np.zeros(1024, np.uint8)


@dataclass(frozen=True)
class Ask:
    seed: int
    x: np.ndarray | None = None


@dataclass(frozen=True)
class Other:
    seed: int
    x: np.ndarray | None = None


DIFFERENT = [
    (),
    (None,),
    (0,),
    (0.0,),
    (False,),
    ("0",),
    (1,),
    (1, 2),
    ((1, 2),),
    ((1,), 2),
    ("1, 2",),
    ("ab", "c"),
    ("a", "bc"),
    (Ask(1),),
    (Ask(2),),
    (Other(1),),
    (Ask(1, np.zeros(2)),),
    (np.zeros(2),),
    (np.zeros(2, np.float32),),
    (np.zeros((2, 1)),),
    (np.zeros((1, 2)),),
    (np.array([0.0, 1.0]),),
    (np.zeros(0),),
    (np.array([True, False]),),
    (np.array([1, 0], np.uint8),),
]


def test_different_contents_have_different_digests() -> None:
    assert len({digest(*values) for values in DIFFERENT}) == len(DIFFERENT)


def test_equal_contents_have_equal_digests_however_they_lie_in_memory() -> None:
    x = np.arange(12.0).reshape(3, 4)
    assert digest(Ask(1, x), [1, "a"]) == digest(Ask(1, np.asfortranarray(x)), [1, "a"])
    assert digest(x[:, ::2]) == digest(x[:, ::2].copy())


def test_what_has_no_content_is_refused() -> None:
    with pytest.raises(TypeError, match="no content"):
        digest(object())


def test_the_size_is_about_the_memory() -> None:
    assert size_of([KB, KB]) == pytest.approx(2048, abs=300)
    assert size_of(Ask(1, KB)) == pytest.approx(1024, abs=300)
    assert size_of(("a" * 5000,)) == pytest.approx(5000, abs=200)


def test_it_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    cache = ResultCache(10 * 1024)
    for key in b"abcdefgh":
        cache.put(bytes([key]), KB)
    assert cache.get(b"a") is KB
    for key in b"ijkl":
        cache.put(bytes([key]), KB)
        assert cache.bytes <= cache.max_bytes
    assert cache.get(b"a") is KB, "it was used not long ago"
    assert cache.get(b"b") is None
    assert cache.get(b"l") is KB


def test_one_large_result_does_not_push_out_the_others() -> None:
    cache = ResultCache(10 * 1024)
    cache.put(b"a", KB)
    cache.put(b"large", np.zeros(3 * 1024, np.uint8))
    assert cache.get(b"large") is None
    assert cache.get(b"a") is KB


def test_what_is_kept_twice_is_counted_once() -> None:
    cache = ResultCache(10 * 1024)
    cache.put(b"a", KB)
    before = cache.bytes
    cache.put(b"a", KB)
    assert cache.bytes == before > 1024


def test_none_of_size_0_is_kept() -> None:
    cache = ResultCache(0)
    cache.put(b"a", None)
    assert (cache.get(b"a"), cache.bytes) == (None, 0)
