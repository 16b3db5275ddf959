"""Each tutorial, from an empty folder to a served model, by its own commands; only the training is shorter."""

from pathlib import Path

import pytest

from benchmarks.environments import environment
from tests.docs.checkout import Checkout, alike
from tests.docs.pages import blocks
from tests.docs.tutorials import OPTIMUM, REQUIREMENTS, walked

STEPS = 12
PAGES = walked()
QUICK = "onnx"
"""The one that trains nothing."""


def _marked(page: Path) -> object:
    mark = pytest.mark.slow if page.stem == QUICK else pytest.mark.tutorial
    return pytest.param(page, id=page.stem, marks=mark)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [_marked(page) for page in PAGES])
def test_a_tutorial_ends_with_a_served_model(page: Path, tmp_path: Path) -> None:
    if page.stem == OPTIMUM:
        environment(OPTIMUM, REQUIREMENTS)
    checkout = Checkout(tmp_path / "amostra", STEPS)
    try:
        for block in blocks(page):
            checkout.run(block)
    finally:
        checkout.stop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_serves_and_asks(page: Path) -> None:
    commands = "".join(block.body for block in blocks(page) if block.language in ("sh", "console"))
    assert "make serve" in commands
    assert "curl" in commands


def test_numbers_and_hashes_may_differ_and_nothing_else() -> None:
    assert alike('{"p_value": 0.012, "x": [1, -2.5e-3]}', '{"p_value": 0.9, "x": [3, 4]}')
    assert alike("536a9942b29367d1c7b891fdc640de93  model.onnx", "bb86443f2efe77bd794b6f244cf88412  model.onnx")
    assert not alike('{"p_value": 0.012}', '{"score": 0.012}')
    assert not alike('"is_anomaly": true', '"is_anomaly": false')
