"""Rows that are made differ from normal ones as they say."""

import pytest
import torch

from training.pseudo_rows import KINDS


@pytest.fixture
def known() -> torch.Tensor:
    return torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 9.0)


def made(kind: str, x: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    return KINDS[kind](x, known, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_rows_that_are_others(kind, known):
    x = known[:100].clone()
    found = made(kind, x, known)
    assert found.shape == x.shape
    assert torch.equal(x, known[:100])
    assert (found != x).any(1).all()
    assert torch.equal(found, made(kind, x, known))


@pytest.mark.parametrize(
    ("kind", "columns"), [("one value of another row", 1), ("a quarter of the values of other rows", 2)]
)
def test_values_of_other_rows_stay_in_their_columns(kind, columns, known):
    found = made(kind, known[:100], known)
    changed = found != known[:100]
    assert changed.sum(1).max() == columns
    assert changed.sum(1).float().mean() > 0.98 * columns  # now and then it is the row's own value
    for column in range(8):
        assert set(found[:, column].tolist()) <= set(known[:, column].tolist())


def test_one_column_is_off_by_two_of_its_deviations(known):
    away = (made("one column off", known[:100], known) - known[:100]) / known.std(0)
    assert (away.abs() > 0.1).sum(1).tolist() == [1] * 100
    assert away.abs().amax(1).tolist() == pytest.approx([2.0] * 100, abs=1e-3)


def test_half_way_and_farther_out(known):
    x = known[:100]
    assert made("half-way to another row", x, known).std() < 0.85 * x.std()
    farther = made("all columns farther out", x, known)
    assert torch.allclose(farther - known.mean(0), 1.5 * (x - known.mean(0)), atol=1e-4)
