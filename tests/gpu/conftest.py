"""Tests that need a GPU: run by `make gpu-test`, skipped with the reason where there is none."""

from pathlib import Path

import pytest

from service.providers import find_device
from service.sessions import ModelRefused
from service.settings import Settings

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def gpu() -> None:
    try:
        find_device("cuda")
    except RuntimeError as error:
        pytest.skip(str(error))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture
def on_gpu():
    """Loads a model as the service does with these settings."""
    from service.loading import load_model

    def load(directory: Path, **settings: object):
        own = Settings(**({"provider": "cuda"} | settings))  # type: ignore[arg-type]
        try:
            return load_model(directory.resolve(), own, find_device(own.provider))
        except ModelRefused as error:
            pytest.fail(str(error))

    return load
