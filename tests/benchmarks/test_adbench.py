"""The protocol leaks nothing, and false discoveries are counted as they are defined."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.adbench import false_discoveries, split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "adbench").mkdir()
    x = np.arange(110.0)[:, None] * [1, 0] + [0, 5]
    np.savez(tmp_path / "adbench" / "45_wine.npz", X=x, y=np.arange(110) >= 100)
    return tmp_path


def test_half_of_the_normal_rows_are_learnt_from_and_standardised_by_themselves(root: Path) -> None:
    first, other = split("wine", root, 0), split("wine", root, 1)
    assert (len(first.train), len(first.test), first.anomalous.sum()) == (50, 60, 10)
    assert first.train.mean(0) == pytest.approx([0, 0], abs=1e-12)
    assert first.train.std(0) == pytest.approx([1, 0], abs=1e-12)  # a constant column stays
    assert not set(first.train[:, 0]) & set(first.test[:, 0])
    assert not np.array_equal(first.train, other.train)
    assert first.test[first.anomalous == 1, 0].min() > first.test[first.anomalous == 0, 0].max()


def test_false_discoveries_are_a_share_of_what_is_flagged() -> None:
    anomalous, rng = np.repeat([0, 1], [900, 50]), np.random.default_rng(0)
    assert false_discoveries(np.ones(950), anomalous, 10**6, rng) == 0
    assert false_discoveries(np.where(anomalous, 1e-6, 1.0), anomalous, 10**6, rng) == 0
    assert false_discoveries(np.full(950, 1e-6), anomalous, 10**6, rng) == pytest.approx(0.9)
    uniform = np.where(anomalous, 1e-6, rng.random(950))
    assert 0 < false_discoveries(uniform, anomalous, 10**6, rng) < 0.12
