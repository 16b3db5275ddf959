"""Kernels are chosen where nobody has."""

import os

import pytest

from contract.kernels import choose_kernels

TILED = "ORT_GQA_DISABLE_FLASH_ATTENTION"


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_an_operators_own_choice_stands(before: str | None, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is None:
        monkeypatch.delenv(TILED, raising=False)
    else:
        monkeypatch.setenv(TILED, before)
    choose_kernels()
    assert os.environ[TILED] == after
